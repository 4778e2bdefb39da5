-- The prepared flights of a month, joined with how they arrived. Cancelled and diverted flights keep a null.
-- Views: features (as prepared before), outcomes (delivered a month later).
SELECT
    f.*,
    (o.arr_delay > 15)::INTEGER AS late
FROM features AS f
LEFT JOIN outcomes AS o
    ON make_date(o.year, o.month, o.day) = f.date
    AND o.carrier = f.carrier
    AND o.flight = f.flight
    AND o.origin = f.origin
ORDER BY f.date, f.minute_of_day, f.carrier, f.flight, f.origin
