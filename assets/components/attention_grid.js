/* Every head of every layer as a thumbnail: one picture drawn on a canvas, and above it one cell a head to point at.
   Arrows move the cursor, Enter or a click opens a head; Python hears only of what is opened. */
const LEFT = 26, TOP = 30, GAP = 4, BETWEEN = 14, SMALLEST = 14, LARGEST = 110, LENS = 144;
const COUNTED = { layers: 18, heads: 18, smallHeads: 6, small: 18 }; // of so many layers or heads one is labelled; fewer where small

export default function (component) {
  const root = component.parentElement.querySelector(".heads");
  root.view ??= start(root);
  return root.view.update(component.data, component.setTriggerValue);
}

function start(root) {
  const grid = root.querySelector("[role=grid]"), canvas = root.querySelector("canvas.all");
  const lens = root.querySelector(".lens"), spoken = root.querySelector(".spoken");
  const view = { cells: [], cursor: [0, 0] };
  let data, open, image, plan, sizes = "";

  const cellOf = ([layer, head]) => view.cells[layer]?.[head];
  const placeOf = (event) => {
    const cell = event.target.closest("[role=gridcell]");
    return cell && [Number(cell.dataset.layer), Number(cell.dataset.head)];
  };

  function layOut() {
    const width = root.clientWidth;
    if (!width || !data) return;
    plan = planned(width, data.height, data.layers, data.heads);
    grid.style.height = `${plan.height}px`;
    const wanted = `${data.layers}x${data.heads}x${plan.size}x${plan.blocks}`;
    if (wanted !== sizes) build(grid, view, data, plan);
    sizes = wanted;
    label();
    draw();
  }

  function label() {
    view.cells.forEach((row, layer) => row.forEach((cell, head) => {
      cell.setAttribute("aria-label", `layer ${layer}, head ${head}: ${data.told[layer][head]}`);
      cell.setAttribute("aria-selected", String(layer === data.selected[0] && head === data.selected[1]));
    }));
    point(view.cursor, view.keys);
  }

  function draw() {
    if (!image || !plan) return;
    const scale = window.devicePixelRatio || 1, [width, height] = tile();
    canvas.width = root.clientWidth * scale;
    canvas.height = plan.height * scale;
    canvas.style.width = `${root.clientWidth}px`;
    canvas.style.height = `${plan.height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.imageSmoothingEnabled = width > plan.size * scale || height > plan.size * scale;
    pen.imageSmoothingQuality = "high";
    for (let layer = 0; layer < data.layers; layer++)
      for (let head = 0; head < data.heads; head++) {
        const [x, y] = plan.corner(layer, head);
        pen.drawImage(image, head * width, layer * height, width, height, x, y, plan.size, plan.size);
      }
  }

  const tile = () => [image.naturalWidth / data.heads, image.naturalHeight / data.layers];

  function point(place, seen) {
    view.cursor = [clamp(place[0], data.layers), clamp(place[1], data.heads)];
    grid.querySelector(".cursor")?.classList.remove("cursor");
    const cell = cellOf(view.cursor);
    if (!cell) return;
    if (seen) cell.classList.add("cursor");
    grid.setAttribute("aria-activedescendant", cell.id);
  }

  function look(place) {
    point(place, true);
    magnify(view.cursor);
  }

  function magnify([layer, head]) {
    if (!image) return;
    const [width, height] = tile(), picture = lens.querySelector("canvas"), scale = window.devicePixelRatio || 1;
    picture.width = picture.height = LENS * scale;
    picture.style.width = picture.style.height = `${LENS}px`;
    const pen = picture.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, head * width, layer * height, width, height, 0, 0, picture.width, picture.height);
    lens.querySelector("b").textContent = `Layer ${layer}, head ${head}`;
    lens.querySelector("span").textContent = data.told[layer][head];
    lens.hidden = false;
    const [x, y] = plan.corner(layer, head), away = plan.size + 10;
    const right = x + away + lens.offsetWidth <= root.clientWidth;
    lens.style.left = `${right ? x + away : Math.max(0, x - 10 - lens.offsetWidth)}px`;
    lens.style.top = `${Math.max(0, Math.min(y, plan.height - lens.offsetHeight))}px`;
  }

  function opened(place, byKey) { // selected at once: Python answers a moment later with the large picture
    view.keys = byKey;
    view.cursor = place;
    data = { ...data, selected: place };
    label();
    lens.hidden = true;
    spoken.textContent = `Layer ${place[0]}, head ${place[1]} is shown large.`;
    open("opened", place);
  }

  const keys = {
    ArrowUp: ([layer, head]) => [layer - 1, head], ArrowDown: ([layer, head]) => [layer + 1, head],
    ArrowLeft: ([layer, head]) => [layer, head - 1], ArrowRight: ([layer, head]) => [layer, head + 1],
    Home: ([layer], all) => [all ? 0 : layer, 0],
    End: ([layer], all) => [all ? data.layers - 1 : layer, data.heads - 1],
  };
  grid.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") opened(view.cursor, true);
    else if (event.key === "Escape") lens.hidden = true;
    else if (keys[event.key]) look(keys[event.key](view.cursor, event.ctrlKey));
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  grid.addEventListener("focus", () => grid.matches(":focus-visible") && look(view.cursor));
  grid.addEventListener("blur", () => { lens.hidden = true; view.keys = false; grid.querySelector(".cursor")?.classList.remove("cursor"); });
  grid.addEventListener("click", (event) => { const place = placeOf(event); if (place) opened(place, false); });
  grid.addEventListener("pointerover", (event) => { const place = placeOf(event); if (place) magnify(place); });
  grid.addEventListener("pointerleave", () => { lens.hidden = true; });

  view.update = (given, trigger) => {
    const elsewhere = !data || String(data.selected) !== String(given.selected);
    const same = data && data.sprite === given.sprite;
    data = given;
    open = trigger;
    grid.setAttribute("aria-label", given.title);
    if (elsewhere) view.cursor = [...given.selected];
    if (!same) load(given.sprite);
    layOut();
    const watch = new ResizeObserver(layOut);
    watch.observe(root);
    return () => watch.disconnect();
  };

  async function load(source) { // the old picture stays until the new one can be drawn
    const next = new Image();
    next.src = source;
    await next.decode();
    if (data.sprite !== source) return;
    image = next;
    draw();
  }

  return view;
}

/* Layers run downwards; where there are many, in several blocks side by side, so that thumbnails are as large as fits. */
function planned(width, height, layers, heads) {
  let best = { size: 0 };
  for (let blocks = 1; blocks <= layers; blocks++) {
    const rows = Math.ceil(layers / blocks);
    const across = (width - blocks * LEFT - (blocks - 1) * BETWEEN) / (heads * blocks) - GAP;
    const size = Math.floor(Math.min(across, (height - TOP) / rows - GAP, LARGEST));
    if (size > best.size) best = { size, blocks, rows };
  }
  const size = Math.max(best.size, SMALLEST), { blocks, rows } = best.size ? best : { blocks: 1, rows: layers };
  const step = size + GAP, block = LEFT + heads * step + BETWEEN;
  const corner = (layer, head) => [Math.floor(layer / rows) * block + LEFT + head * step, TOP + (layer % rows) * step];
  return { size, blocks, rows, step, block, corner, height: TOP + rows * step };
}

function build(grid, view, data, plan) {
  const rows = [];
  view.cells = Array.from({ length: data.layers }, (_, layer) => {
    const row = element("div", { role: "row" });
    rows.push(row);
    return Array.from({ length: data.heads }, (_, head) => {
      const [x, y] = plan.corner(layer, head);
      const cell = element("div", { role: "gridcell", id: `head-${layer}-${head}`, "data-layer": layer, "data-head": head });
      Object.assign(cell.style, { left: `${x}px`, top: `${y}px`, width: `${plan.size}px`, height: `${plan.size}px` });
      return row.appendChild(cell);
    });
  });
  grid.replaceChildren(...rows, grid.querySelector("canvas"), ...labels(data, plan)); // the canvas above the cells' ground
}

function labels(data, plan) {
  const found = [], layers = Math.ceil(plan.rows / COUNTED.layers);
  const heads = Math.ceil(data.heads / (plan.size < COUNTED.small ? COUNTED.smallHeads : COUNTED.heads));
  const put = (text, x, y, shift) => {
    const label = element("span", { class: "label", "aria-hidden": "true" });
    label.textContent = text;
    Object.assign(label.style, { left: `${x}px`, top: `${y}px`, transform: shift });
    found.push(label);
  };
  for (let block = 0; block < plan.blocks; block++) {
    const [left, top] = plan.corner(block * plan.rows, 0);
    if (block === 0) put(`layer ↓${thinned(layers)}  head →${thinned(heads)}`, left - LEFT, 0, "");
    for (let head = 0; head < data.heads; head += heads) put(head, left + head * plan.step + plan.size / 2, top - 15, "translateX(-50%)");
    for (let row = 0; row < plan.rows && block * plan.rows + row < data.layers; row += layers)
      put(block * plan.rows + row, left - 7, top + row * plan.step + plan.size / 2, "translate(-100%, -50%)");
  }
  return found;
}

/* Said where labels are left out. */
const thinned = (every) => (every > 1 ? ` every ${every}${{ 2: "nd", 3: "rd" }[every] ?? "th"} labelled` : "");

function element(name, attributes) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
