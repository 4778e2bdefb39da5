"use strict";
// The pages work without this. Inside Airflow's frame it does two things that a sandboxed frame can not do by itself:
// follow the theme that was chosen in Airflow, and open links that lead out of the frame in the window around it.
(function () {
  let outer;
  try {
    if (window.parent === window) return;
    outer = window.parent.document;
    outer.documentElement.classList;
  } catch {
    return; // somebody else's frame
  }
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
    const out = outer.createElement("a");
    out.href = link.href;
    if (new URL(link.href).origin !== window.location.origin) {
      out.target = "_blank";
      out.rel = "noopener noreferrer";
    }
    outer.body.append(out);
    out.click();
    out.remove();
  });
})();
