"use strict";
// Headings sort all rows of their table: ascending, descending, and back to the order of the page.
for (const table of document.querySelectorAll("table.sheet")) {
  const headings = [...table.tHead.rows[0].cells], bodies = [...table.tBodies];
  const groups = bodies.map((body) => [...body.rows]);
  const text = (row, column) => (row.cells[column].firstChild?.textContent ?? "").trim();
  const order = (column, sign) => (a, b) => {
    const [x, y] = [parseFloat(text(a, column)), parseFloat(text(b, column))];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return sign * (Number.isNaN(x) ? text(a, column).localeCompare(text(b, column)) : x - y);
  };
  headings.forEach((heading, column) => heading.addEventListener("click", () => {
    const next = { ascending: "descending", descending: null }[heading.ariaSort] ?? (heading.ariaSort ? null : "ascending");
    for (const other of headings) other.ariaSort = null;
    heading.ariaSort = next;
    bodies.forEach((body, number) => body.append(...groups[number]));
    if (next) bodies[0].append(...groups.flat().sort(order(column, next === "ascending" ? 1 : -1)));
  }));
}
// A table as CSV. An interval gets a column of its own. Text that a spreadsheet would run as a formula is quoted.
const field = (text) => {
  const safe = /^[=+@\t\r]|^-(?![\d.]*$)/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
};
function csvOf(table) {
  const headings = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.replace(/\s+/g, " ").trim());
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  const below = (cell) => cell.querySelector(".below")?.textContent.trim() ?? "";
  const main = (cell) => [...cell.childNodes].filter((node) => !node.classList?.contains("below"))
    .map((node) => node.textContent).join("").trim();
  const wide = headings.map((_, column) => rows.some((row) => below(row.cells[column])));
  const line = (parts) => parts.flatMap(([first, second], column) => (wide[column] ? [first, second] : [first])).map(field).join(",");
  return [
    line(headings.map((heading, column) => [heading, column ? `${heading}, 95 % interval` : `${heading}, detail`])),
    ...rows.map((row) => line([...row.cells].map((cell) => [main(cell), below(cell)]))),
  ].join("\r\n") + "\r\n";
}
for (const button of document.querySelectorAll("button.csv")) {
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", csvOf(button.closest(".table").querySelector("table"))], { type: "text/csv" }));
    link.download = `${button.dataset.name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
// A filter field hides the rows without its words, and the list of kinds hides the other models everywhere.
const words = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
for (const input of document.querySelectorAll("input.filter")) {
  const tables = input.dataset.table.split(" ").filter(Boolean).map((id) => document.getElementById(id));
  const rows = tables.flatMap((table) => [...table.tBodies]).flatMap((body) => [...body.rows]);
  input.addEventListener("input", () => {
    for (const row of rows) row.classList.toggle("filtered", !words(input).every((word) => row.innerText.toLowerCase().includes(word)));
  });
}
document.getElementById("kinds")?.addEventListener("change", (event) => {
  const kind = event.target.value;
  for (const each of document.querySelectorAll("[data-kind]")) each.hidden = kind !== "" && each.dataset.kind !== kind;
});
