"use strict";
// The pages can be read without this. It sends the forms that start a DAG run to Airflow's public API, as the user who
// is logged in; and inside Airflow's frame it follows the theme that was chosen in Airflow, and opens links that lead
// out of the frame in the window around it.
(function () {
  let outer = null;
  try {
    if (window.parent !== window && window.parent.document.documentElement.classList) outer = window.parent.document;
  } catch {
    outer = null; // somebody else's frame
  }

  const leave = (href) => {
    const out = outer.createElement("a");
    out.href = href;
    if (new URL(href).origin !== window.location.origin) {
      out.target = "_blank";
      out.rel = "noopener noreferrer";
    }
    outer.body.append(out);
    out.click();
    out.remove();
  };

  if (outer) {
    const follow = () => {
      const list = outer.documentElement.classList;
      if (list.contains("dark")) document.documentElement.dataset.theme = "dark";
      else if (list.contains("light")) document.documentElement.dataset.theme = "light";
      else delete document.documentElement.dataset.theme;
    };
    follow();
    new MutationObserver(follow).observe(outer.documentElement, { attributes: true, attributeFilter: ["class"] });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-outside]");
      if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      leave(link.href);
    });
  }

  const value = (input) => {
    if (input.type === "checkbox") return input.checked;
    if (input.value === "" && "nullable" in input.dataset) return null;
    if (input.dataset.type === "string") return input.value;
    return input.value === "" ? undefined : Number(input.value); // nothing: the DAG's own default
  };

  const refusal = (status, body) => {
    if (status === 401) return "Your login has ended. Log in to Airflow again, then open this page anew.";
    if (status === 403) return "You do not have the right to start this DAG.";
    if (status === 409) return "This form has started a run already. Open the page anew to start another.";
    const detail = body && body.detail;
    return `Airflow refused (${status}): ${typeof detail === "string" ? detail : JSON.stringify(detail || "")}`;
  };

  for (const form of document.querySelectorAll("form[data-run]")) {
    const button = form.querySelector("button");
    const told = form.querySelector(".told");
    const tell = (text, bad) => {
      told.textContent = text;
      told.classList.toggle("bad", bad);
    };
    button.disabled = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      tell("Asking Airflow …", false);
      const conf = {};
      for (const input of form.querySelectorAll("[data-type]")) {
        const given = value(input);
        if (given !== undefined) conf[input.name] = given;
      }
      const ask = { logical_date: null, dag_run_id: form.dataset.id, conf, note: "Started from the Models page." };
      try {
        const answer = await fetch(form.dataset.run, {
          method: "POST",
          credentials: "same-origin",
          redirect: "error",
          headers: { "Content-Type": "application/json", Accept: "application/json" },
          body: JSON.stringify(ask),
        });
        const body = await answer.json().catch(() => null);
        if (answer.ok) {
          tell("Started: ", false);
          const link = document.createElement("a");
          link.href = form.dataset.runs + encodeURIComponent(body.dag_run_id);
          link.dataset.outside = "";
          link.textContent = body.dag_run_id;
          told.append(link);
          return; // the button stays off: this form has done what it was for
        }
        tell(refusal(answer.status, body), true);
        button.disabled = answer.status === 409;
      } catch {
        tell("Airflow did not answer. Look at the DAG's runs before you try again.", true);
        button.disabled = false; // the same form can start only one run, however often it is sent
      }
    });
  }
})();
