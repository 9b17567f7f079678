"use strict";
// Headings sort the rows of each section of their table; a filter field hides the rows without its words.
for (const table of document.querySelectorAll("table.sheet")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const sort = () => {
      const descending = heading.ariaSort === "ascending";
      headings.forEach((other) => { other.ariaSort = null; });
      heading.ariaSort = descending ? "descending" : "ascending";
      const text = (row) => row.cells[column].dataset.sort ?? row.cells[column].innerText.trim();
      const compare = (a, b) => {
        const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
        if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
        const order = Number.isNaN(x) ? text(a).localeCompare(text(b)) : x - y;
        return descending ? -order : order;
      };
      for (const body of table.tBodies) body.append(...[...body.rows].sort(compare));
    };
    heading.tabIndex = 0;
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
for (const field of document.querySelectorAll("input.filter")) {
  const tables = field.dataset.table.split(" ").filter(Boolean).map((id) => document.getElementById(id));
  const rows = tables.flatMap((table) => [...table.tBodies]).flatMap((body) => [...body.rows]);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.innerText.toLowerCase().includes(word));
  });
}
