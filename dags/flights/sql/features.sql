-- One row a scheduled departure, with nothing that is not known two hours before it.
-- Views: schedule (the month's flights), weather (hourly observations of the month and of the one before).
WITH observed AS (
    SELECT
        origin,
        time_hour,
        temp, dewp, humid, wind_speed, wind_gust, precip, pressure, visib,
        sum(precip) OVER last_six_hours AS precip_6h,
        min(visib) OVER last_six_hours AS visib_6h
    FROM weather
    WINDOW last_six_hours AS (
        PARTITION BY origin ORDER BY time_hour RANGE BETWEEN INTERVAL 5 HOURS PRECEDING AND CURRENT ROW
    )
)
SELECT
    make_date(s.year, s.month, s.day) AS date,
    s.carrier,
    s.flight,
    s.origin,
    s.dest,
    s.distance::DOUBLE AS distance,
    (s.hour * 60 + s.minute)::DOUBLE AS minute_of_day,
    isodow(make_date(s.year, s.month, s.day))::DOUBLE AS weekday,
    -- How crowded the airport is going to be, by the schedule alone.
    count(*) OVER (PARTITION BY s.origin, s.time_hour)::DOUBLE AS departures_in_hour,
    count(*) OVER (PARTITION BY s.year, s.month, s.day, s.dest)::DOUBLE AS flights_to_dest,
    o.temp, o.dewp, o.humid, o.wind_speed, o.wind_gust, o.precip, o.pressure, o.visib, o.precip_6h, o.visib_6h
FROM schedule AS s
-- time_hour is the hour of the scheduled departure, so this observation is two to three hours old when it leaves.
LEFT JOIN observed AS o ON o.origin = s.origin AND o.time_hour = s.time_hour - INTERVAL 2 HOURS
ORDER BY date, minute_of_day, s.carrier, s.flight, s.origin
