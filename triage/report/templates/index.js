"use strict";
// Filters and sorts the table. What is chosen stands behind the # of the address, so that a view can be passed on.
(() => {
  const form = document.getElementById("filters");
  const body = document.querySelector("table.index tbody");
  const rows = Array.from(body.rows);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const controls = Array.from(form.elements).filter((control) => control.name);
  const shown = document.getElementById("shown");
  const order = new Intl.Collator("en", { numeric: true });

  const filter = () => {
    const chosen = controls.filter((control) => control.value).map((control) => [control.name, control.value]);
    let count = 0;
    for (const row of rows) {
      const fits = chosen.every(([name, value]) =>
        name === "text" ? texts.get(row).includes(value.toLowerCase()) : row.dataset[name] === value);
      if (row.hidden === fits) row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
    history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
  };

  const compare = (a, b) => {
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? order.compare(a, b) : difference;
  };

  const sort = (header, key) => {
    const falling = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    rows.sort((a, b) => compare(a.dataset[key], b.dataset[key]) * (falling ? -1 : 1));
    body.append(...rows);
  };

  for (const header of document.querySelectorAll("th[data-key]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(header, header.dataset.key));
    header.append(button);
  }
  const given = new URLSearchParams(location.hash.slice(1));
  for (const control of controls) {
    if (given.has(control.name)) control.value = given.get(control.name);
    if (control.selectedIndex === -1) control.selectedIndex = 0;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();
})();
