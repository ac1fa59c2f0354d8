"use strict";
(() => {
  const all = (what, inside = document) => [...inside.querySelectorAll(what)];
  const one = (id) => document.getElementById(id);

  // One metric at a time; without this script all of them are shown.
  const metric = one("metric");
  if (metric && metric.options.length > 1) {
    const show = () => {
      for (const part of all("[data-metric]")) part.hidden = part.dataset.metric !== metric.value;
    };
    metric.addEventListener("change", show);
    metric.closest("[hidden]").hidden = false;
    show();
  }

  // A picture can be enlarged.
  for (const picture of all(".picture")) {
    const button = document.createElement("button");
    const link = picture.querySelector("a");
    button.type = "button";
    const toggle = (wide) => {
      picture.classList.toggle("wide", wide);
      button.textContent = wide ? "smaller" : "larger";
      button.setAttribute("aria-label", `${button.textContent}: figure of ${link.textContent}`);
    };
    button.addEventListener("click", () => toggle(!picture.classList.contains("wide")));
    toggle(false);
    picture.querySelector("figcaption").prepend(button);
  }

  const table = one("table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
  };

  // Sort: numbers before words, what is missing always last, equal rows in the order of the sweep.
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [value(row, column), row]);
      const held = keyed.filter(([key]) => key !== "");
      held.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
      body.append(...held.map(([, row]) => row));
      body.append(...keyed.filter(([key]) => key === "").map(([, row]) => row));
    });
  });

  // Filter: every word must occur, every condition must hold.
  const filter = one("filter");
  const status = one("status");
  const shown = one("shown");
  const names = heads.map((head) => head.dataset.name.toLowerCase());
  const holds = (row, word) => {
    const parts = /^([^=<>!]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word);
    const column = parts ? names.indexOf(parts[1]) : -1;
    if (column < 0) return row.textContent.toLowerCase().includes(word);
    const have = value(row, column);
    const number = typeof have === "number" && !Number.isNaN(Number(parts[3]));
    const order = number
      ? have - Number(parts[3])
      : String(have).toLowerCase().localeCompare(parts[3], "en");
    if (have === "") return parts[2] === "!=";
    const text = row.cells[column].textContent.trim().toLowerCase(); // as shown, rounded
    return {
      "=": order === 0 || text === parts[3], "!=": order !== 0 && text !== parts[3],
      "<": order < 0, ">": order > 0,
      "<=": order <= 0, ">=": order >= 0,
    }[parts[2]];
  };
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = (!status.value || row.dataset.status === status.value) &&
        words.every((word) => holds(row, word));
      row.hidden = !fits;
      if (fits) count += 1;
    }
    shown.textContent = count === rows.length ? `${count} runs` : `${count} of ${rows.length} runs`;
  };
  filter.addEventListener("input", apply);
  status.addEventListener("change", apply);
  one("filter").closest("[hidden]").hidden = false;
  apply();

  // A link from a figure to a row that the filter hides shows all rows again.
  window.addEventListener("hashchange", () => {
    const row = one(decodeURIComponent(location.hash.slice(1)));
    if (row && row.hidden) {
      filter.value = status.value = "";
      apply();
      row.scrollIntoView();
    }
  });
})();
