"use strict";
// Each form filters the items of its name: by kind, and by words that their ids begin with or hold.
for (const form of document.querySelectorAll("form[data-filters]")) {
  const items = [...document.querySelectorAll(`[data-item="${form.dataset.filters}"]`)];
  const status = form.querySelector("[role=status]");
  const show = () => {
    const kind = form.elements.kind ? form.elements.kind.value : "";
    const words = form.elements.words.value.trim().toLowerCase();
    let shown = 0;
    for (const item of items) {
      const fits = (!kind || item.dataset.kind === kind) && item.dataset.words.toLowerCase().includes(words);
      item.hidden = !fits;
      shown += fits;
    }
    status.textContent = `${shown} of ${items.length} ${form.dataset.many}`;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  show();
}
