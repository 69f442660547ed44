"use strict";
const MOST = 14; // lines of a tip
const made = (parent, tag, kind, text) => {
  const node = parent.appendChild(document.createElement(tag));
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
};
const shown = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4)));
const nearest = (xs, x) => xs.reduce((best, each, i) => (Math.abs(each - x) < Math.abs(xs[best] - x) ? i : best), 0);

for (const svg of document.querySelectorAll("svg[data-rows]")) {
  const rows = JSON.parse(svg.dataset.rows);
  const [start, end, low, high] = JSON.parse(svg.dataset.x);
  if (!rows.length) continue;
  const figure = svg.parentNode;
  let tip, line;
  const leave = () => { tip?.remove(); line?.remove(); tip = line = undefined; };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("pointermove", (event) => {
    leave();
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const x = low + ((event.clientX - box.left) * scale - start) / (end - start) * (high - low);
    const seen = rows.filter((row) => !document.body.classList.contains("hide-" + row[4]));
    if (!seen.length) return;
    const at = seen.map((row) => row[2][nearest(row[2], x)]);
    const step = at[nearest(at, x)];
    line = svg.appendChild(document.createElementNS(svg.namespaceURI, "line"));
    const place = start + (step - low) / (high - low) * (end - start);
    for (const [key, value] of Object.entries({ class: "pointer", x1: place, x2: place, y1: 10, y2: 184 })) line.setAttribute(key, value);
    tip = made(figure, "div", "tip");
    made(tip, "b", "", shown(step));
    for (const row of seen.slice(0, MOST)) {
      const i = nearest(row[2], step);
      const entry = made(tip, "div", row[1]);
      made(entry, "i", "swatch");
      const beside = row[2][i] === step ? "" : " at " + shown(row[2][i]);
      made(entry, "span", "", row[0] + "  " + shown(row[3][i]) + beside);
    }
    if (seen.length > MOST) made(tip, "small", "", "and " + (seen.length - MOST) + " more");
    const inside = figure.getBoundingClientRect();
    const left = event.clientX - inside.left;
    tip.style.left = (left > inside.width / 2 ? left - tip.offsetWidth - 14 : left + 14) + "px";
    tip.style.top = event.clientY - inside.top + 12 + "px";
  });
}

for (const button of document.querySelectorAll("button[data-run]")) {
  button.addEventListener("click", () => {
    const hidden = document.body.classList.toggle("hide-" + button.dataset.run);
    button.setAttribute("aria-pressed", String(!hidden));
  });
}
