// Column headers become buttons that sort: ascending, descending, as it was; print shows what is folded away.
// Without script the page is as complete.
"use strict";
const value = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
};
const compare = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
};
const ordered = (rows, column, direction) => {
  const empty = rows.filter(row => value(row, column) === "");
  const full = rows.filter(row => value(row, column) !== "");
  const sign = direction === "descending" ? -1 : 1;
  return [...full.sort((a, b) => sign * compare(value(a, column), value(b, column))), ...empty];
};
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
for (const table of document.querySelectorAll("main table")) {
  const bodies = [...table.tBodies].map(body => [body, [...body.rows]]);
  if (!bodies.some(([, rows]) => rows.length > 1)) continue;
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  table.caption.append(". The buttons in the column headers sort it.");
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.firstChild); // the name; a hint stays below
    head.prepend(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const direction = NEXT[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", other === head ? direction : "none");
      for (const [body, rows] of bodies) {
        body.append(...(direction === "none" ? rows : ordered(rows, column, direction)));
      }
    });
  });
}

const folded = [...document.querySelectorAll("details:not([open])")];
addEventListener("beforeprint", () => folded.forEach(details => { details.open = true; }));
addEventListener("afterprint", () => folded.forEach(details => { details.open = false; }));
