// A spectrum with a cut that is dragged: what it costs moves along, and Python hears of it on release.
// Everything here is drawn from data that came once; W (m × n) has singular values σ₁ ≥ σ₂ ≥ …, energy is Σσ².

const NAMESPACE = "http://www.w3.org/2000/svg";
const MARGIN = { left: 62, right: 58, top: 24, between: 30, bottom: 36 };
const HEIGHT = { spectrum: 250, loss: 104 };
const NOTHING = 1e-6; // times σ₁: below it a singular value is rounding, not a direction
const LEAST = 0.03; // nats, or share of right answers, that the loss axis shows
const BODY = 0.97; // share of the spectrum that the axis is made for: the last few may fall off by decades
const FEW = 16; // singular values below which a curve has no room for its name
const PATIENCE = 350; // ms after the last key until the cut counts as released
const MEMORY = 5000; // ms in which a cut that takes another's place on the page takes its focus too
const MEANING = {
  rank: "r: how many singular values, the largest first, and their vectors are kept: W ≈ Wᵣ = U Vᵀ, U m × r, V n × r.",
  energy: "Σσᵢ² over i ≤ r, divided by Σσᵢ² over all i.",
  error: "√(Σσᵢ² over i > r) / √(Σσᵢ² over all i): no matrix of rank r comes nearer to W (Eckart and Young, 1936).",
  numbers: "r (m + n) / (m n): the numbers of both factors against those of W; 1 at break-even, r = m n / (m + n).",
  perplexity: "exp of the mean loss of a scored token, in nats; 95% interval of the difference to the base by a paired bootstrap.",
  accuracy: "The share of right answers; 95% interval of the difference to the base by a paired bootstrap.",
};
const views = new WeakMap();
let used = 0; // when a cut was last moved, or drawn while it had the focus

export default function (component) {
  const { parentElement, data, setStateValue } = component;
  const view = views.get(parentElement) ?? new SpectrumCut(parentElement);
  views.set(parentElement, view);
  view.show(data, (rank) => setStateValue("dropped", { rank, time: Date.now() }));
  return () => view.rest();
}

class SpectrumCut {
  constructor(root) {
    this.frame = root.querySelector(".spectrum-cut");
    this.strip = root.querySelector(".strip");
    this.host = root.querySelector(".picture");
    this.sent = [];
    this.heir = Date.now() - used < MEMORY;
    this.size = new ResizeObserver(() => this.draw());
    this.host.addEventListener("pointerdown", (event) => this.grab(event));
    this.host.addEventListener("pointermove", (event) => this.point(event));
    this.host.addEventListener("pointerup", (event) => this.drop(event));
    this.host.addEventListener("pointercancel", () => this.abandon());
    this.host.addEventListener("pointerleave", () => this.hint(null));
    this.host.addEventListener("keydown", (event) => this.press(event));
    this.host.addEventListener("focusin", () => (used = Date.now()));
    this.host.addEventListener("focusout", () => this.settle());
  }

  /** New data; a cut that Python changed is taken over, one under the hand is left alone. */
  show(data, release) {
    if (data.role !== this.data?.role || this.changedThere(data.cut)) this.rank = data.cut;
    this.data = data;
    this.release = (rank) => {
      this.sent.push(rank);
      release(rank);
    };
    this.rank = Math.min(this.rank, data.sigma.length);
    this.frame.classList.toggle("dark", data.theme === "dark");
    this.derive();
    this.draw();
    this.size.observe(this.host);
  }

  /** Did Python change the cut? What was sent comes back later, when the hand may be elsewhere: an echo is no change. */
  changedThere(cut) {
    const echo = this.sent.lastIndexOf(cut);
    if (echo >= 0) this.sent.splice(0, echo + 1);
    return echo < 0 && cut !== this.data.cut && !this.dragging && !this.waiting;
  }

  rest() {
    this.size.disconnect();
  }

  /** Cumulative energy once, so that a step of the cut only looks it up. */
  derive() {
    this.energy = [0];
    for (const one of this.data.sigma) this.energy.push(this.energy.at(-1) + one * one);
    this.total = this.energy.at(-1) || 1;
    this.points = this.data.loss.points;
    this.scored = !this.data.loss.reason;
  }

  // What a cut costs

  kept(rank) {
    return this.energy[rank] / this.total;
  }

  error(rank) {
    return Math.sqrt(Math.max(0, 1 - this.kept(rank)));
  }

  numbers(rank) {
    const [m, n] = this.data.shape;
    return rank * (m + n);
  }

  /** The model's score at a cut: measured there, else between its measured neighbours, linear over log rank. */
  score(rank) {
    const at = this.points.find((one) => one.rank === rank);
    if (at) return { ...at, estimate: !at.final };
    const full = { rank: this.data.sigma.length, value: this.data.loss.base };
    const known = [...this.points, ...(this.points.some((one) => one.rank === full.rank) ? [] : [full])];
    const below = known.filter((one) => one.rank < rank).at(-1);
    const above = known.find((one) => one.rank >= rank);
    if (!this.points.length || !below || !above) return null;
    const share = Math.log(rank / below.rank) / Math.log(above.rank / below.rank);
    const [from, to] = [below, above].map((one) => this.straight(one.value));
    return { value: this.curved(from + share * (to - from)), estimate: true };
  }

  /** Perplexities are interpolated as losses, accuracies as they are. */
  straight(value) {
    return this.data.loss.labelled ? value : Math.log(value);
  }

  curved(value) {
    return this.data.loss.labelled ? value : Math.exp(value);
  }

  // The picture

  draw() {
    const width = this.host.clientWidth;
    if (!width || !this.data) return;
    const focused = this.handle && this.handle === this.host.getRootNode().activeElement;
    if (focused) used = Date.now();
    this.lay(width);
    this.svg = element("svg", { width, height: this.bottom + MARGIN.bottom, class: this.dragging ? "dragging" : "" });
    this.grounds();
    this.spectrumAxes();
    this.curves();
    this.references();
    if (this.scored) this.lossPanel();
    this.rankAxis();
    this.cutLine();
    this.host.replaceChildren(this.svg);
    if (focused || this.inherits()) this.handle.focus({ preventScroll: true });
    this.move(this.rank);
  }

  /** A rerun may put a new picture in the place of the one that was just used, and the focus falls to the page. */
  inherits() {
    const fallen = this.heir && document.activeElement === document.body;
    this.heir = false;
    return fallen;
  }

  lay(width) {
    const { sigma, after, edge, random } = this.data;
    const loss = this.scored ? HEIGHT.loss + MARGIN.between : 0;
    this.plot = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top };
    this.plot.bottom = MARGIN.top + HEIGHT.spectrum + (this.scored ? 0 : HEIGHT.loss);
    this.bottom = this.plot.bottom + loss;
    const body = sigma.slice(0, Math.ceil(BODY * sigma.length)).filter((one) => one > NOTHING * sigma[0]);
    const top = Math.max(sigma[0], after?.[0] ?? 0, random[0], edge);
    this.low = Math.log10(Math.min(body.at(-1) ?? top, edge)) - 0.5;
    this.high = Math.log10(top) + 0.1;
  }

  x(rank) {
    return this.plot.left + (rank / this.data.sigma.length) * (this.plot.right - this.plot.left);
  }

  y(sigma) {
    const share = (Math.log10(sigma) - this.low) / (this.high - this.low);
    return this.plot.bottom - Math.max(0, share) * (this.plot.bottom - this.plot.top);
  }

  yEnergy(share) {
    return this.plot.bottom - share * (this.plot.bottom - this.plot.top);
  }

  add(name, attributes, text) {
    const made = element(name, attributes, text);
    this.svg.append(made);
    return made;
  }

  line(x1, y1, x2, y2, name) {
    return this.add("line", { x1, y1, x2, y2, class: name });
  }

  /** What is kept, and where factors hold more numbers than the matrix. */
  grounds() {
    const height = this.bottom - this.plot.top;
    const even = this.x(this.data.even);
    this.add("rect", { x: even, y: this.plot.top, width: this.plot.right - even, height, class: "no-gain" });
    this.keptGround = this.add("rect", { x: this.plot.left, y: this.plot.top, width: 0, height, class: "kept" });
  }

  spectrumAxes() {
    for (const value of logTicks(this.low, this.high)) {
      this.line(this.plot.left, this.y(value), this.plot.right, this.y(value), "grid");
      this.add("text", { x: this.plot.left - 8, y: this.y(value) + 4, class: "tick end" }, spoken(value));
    }
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const at = { x: this.plot.right + 8, y: this.yEnergy(share) + 4, class: "tick energy-text" };
      this.add("text", at, `${100 * share}%`);
    }
    this.title(16, (this.plot.top + this.plot.bottom) / 2, "singular value σ", "rank-text");
    this.title(this.plot.right + 52, (this.plot.top + this.plot.bottom) / 2, "cumulative energy", "energy-text");
  }

  title(x, y, text, name) {
    this.add("text", { x, y, transform: `rotate(-90 ${x} ${y})`, class: `axis middle ${name}` }, text);
  }

  rankAxis() {
    const full = this.data.sigma.length;
    for (const rank of linearTicks(full)) {
      this.line(this.x(rank), this.plot.top, this.x(rank), this.bottom, "grid");
      this.add("text", { x: this.x(rank), y: this.bottom + 16, class: "tick middle" }, spoken(rank));
    }
    const middle = { x: (this.plot.left + this.plot.right) / 2, y: this.bottom + 32, class: "axis middle" };
    this.add("text", middle, "rank: singular values in falling order");
  }

  curves() {
    const { sigma, after, random, hue } = this.data;
    this.curve(random, "random");
    this.path(this.energy.map((one, index) => [this.x(index), this.yEnergy(one / this.total)]), "energy");
    this.curve(sigma, "before");
    const close = this.y(random[Math.floor(0.8 * random.length)]) - this.y(this.data.edge) < 36; // to the edge's own name
    if (sigma.length >= FEW) this.say(random, 0.8, "a random matrix of this size", "random-text", close ? 17 : -14);
    if (after) {
      this.curve(after, "after").style.stroke = `var(--${hue})`;
      this.say(after.filter((one) => one > NOTHING * after[0]), 0.75, "after", "after-text", 18).style.fill = `var(--${hue})`;
    }
    if (after) this.say(sigma, 0.25, "before", "rank-text", -9);
  }

  curve(sigma, name) {
    const least = Math.max(NOTHING * sigma[0], 10 ** this.low);
    const shown = sigma.map((one, index) => [one, index]).filter(([one]) => one > least);
    return this.path(shown.map(([one, index]) => [this.x(index + 0.5), this.y(one)]), name);
  }

  path(points, name) {
    const d = points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    return this.add("path", { d, class: `curve ${name}` });
  }

  /** A direct label at a share of the curve's length. */
  say(sigma, share, text, name, dy) {
    const index = Math.min(sigma.length - 1, Math.floor(share * sigma.length));
    return this.add("text", { x: this.x(index), y: this.y(sigma[index]) + dy, class: `label middle ${name}` }, text);
  }

  references() {
    const { edge, above, even } = this.data;
    const line = this.line(this.plot.left, this.y(edge), this.plot.right, this.y(edge), "edge");
    const meaning = "Directions above this line carry structure: the strongest singular value of a random matrix of this size and variance lies here (Marchenko–Pastur).";
    const told = `random-matrix edge: ${above} ${above === 1 ? "direction" : "directions"} above`;
    const label = this.add("text", { x: this.plot.right - 6, y: this.y(edge) - 6, class: "label end random-text" }, told);
    for (const one of [line, label]) one.append(element("title", {}, meaning));
    this.line(this.x(even), this.plot.top, this.x(even), this.bottom, "even");
    const right = even < 0.7 * this.data.sigma.length;
    const place = { x: this.x(even) + (right ? 6 : -6), y: this.plot.bottom - 8, class: `label ${right ? "" : "end"} even-text` };
    this.add("text", place, right ? `break-even ${even}; beyond it factors hold more numbers than W` : `break-even ${even}`);
  }

  // The loss panel

  lossPanel() {
    this.lossTop = this.plot.bottom + MARGIN.between;
    const { base, source, name, doing } = this.data.loss;
    const head = `${name} on ${source} when this matrix alone is cut${doing ? ` · ${doing}` : ""}`;
    this.add("text", { x: this.plot.right, y: this.lossTop - 8, class: "label end" }, head);
    this.title(16, (this.lossTop + this.bottom) / 2, name, "");
    if (!this.points.length) return;
    this.scaleLoss();
    for (const value of this.lossTicks()) {
      this.line(this.plot.left, this.yLoss(value), this.plot.right, this.yLoss(value), "grid");
      this.add("text", { x: this.plot.left - 8, y: this.yLoss(value) + 4, class: "tick end" }, this.told(value));
    }
    this.line(this.plot.left, this.yLoss(base), this.plot.right, this.yLoss(base), "base");
    this.add("text", { x: this.plot.right + 8, y: this.yLoss(base) + 4, class: "tick base-text" }, "base");
    this.between();
    for (const one of this.points) this.measured(one);
  }

  /** As wide as what was measured, and wide enough that a difference of nothing looks like one. */
  scaleLoss() {
    const values = [this.data.loss.base, ...this.points.map((one) => one.value)].map((one) => this.straight(one));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = 0.12 * (high - low) + Math.max(0, LEAST - (high - low)) / 2;
    this.lossRange = [low - room, high + room];
  }

  yLoss(value) {
    const [low, high] = this.lossRange;
    const share = Math.min(1, Math.max(0, (this.straight(value) - low) / (high - low)));
    return this.bottom - share * (this.bottom - this.lossTop);
  }

  lossTicks() {
    const [low, high] = this.lossRange;
    if (this.data.loss.labelled) return spread(low, high, 4);
    return high - low > 1 ? thinned(logTicks(low / Math.LN10, high / Math.LN10), 4) : spread(Math.exp(low), Math.exp(high), 4);
  }

  told(value) {
    return this.data.loss.labelled ? percent(value) : spoken(value);
  }

  /** Between the measured points: an estimate, dashed. */
  between() {
    const full = this.data.sigma.length;
    const ranks = Array.from({ length: full }, (_, index) => index + 1);
    const known = ranks.map((rank) => [rank, this.score(rank)]).filter(([, one]) => one);
    this.path(known.map(([rank, one]) => [this.x(rank), this.yLoss(one.value)]), "between");
  }

  measured(one) {
    const [x, y] = [this.x(one.rank), this.yLoss(one.value)];
    if (one.low !== null) this.line(x, this.yLoss(one.low), x, this.yLoss(one.high), "whisker");
    const dot = this.add("circle", { cx: x, cy: y, r: 4, class: one.final ? "measured" : "estimated" });
    const kind = one.final ? "measured" : "estimate";
    dot.append(element("title", {}, `rank ${one.rank}: ${this.told(one.value)}, ${kind} on ${one.scored}`));
  }

  // The cut

  cutLine() {
    this.hover = this.add("g", { class: "hover" });
    this.dot = this.add("circle", { r: 6, class: "dot" });
    const full = this.data.sigma.length;
    this.handle = this.add("g", { class: "cut", tabindex: 0, role: "slider", "aria-label": `Cut of ${this.data.role} at rank`, "aria-valuemin": 1, "aria-valuemax": full });
    this.handle.append(
      element("rect", { class: "ring", x: -34, y: 1, width: 68, height: this.bottom - 2, rx: 5 }),
      element("line", { x1: 0, x2: 0, y1: this.plot.top, y2: this.bottom }),
      element("rect", { class: "grip", x: -30, y: 3, width: 60, height: 20, rx: 10 }),
      element("text", { class: "middle", y: 17 }),
    );
  }

  /** The cut at a rank, and all that it costs. */
  move(rank) {
    this.rank = Math.max(1, Math.min(this.data.sigma.length, rank));
    this.handle.setAttribute("transform", `translate(${this.x(this.rank).toFixed(1)} 0)`);
    this.handle.setAttribute("aria-valuenow", this.rank);
    this.handle.lastChild.textContent = `rank ${this.rank}`;
    this.keptGround.setAttribute("width", this.x(this.rank) - this.plot.left);
    const score = this.score(this.rank);
    this.dot.setAttribute("visibility", score ? "visible" : "hidden");
    if (score) {
      this.dot.setAttribute("cx", this.x(this.rank));
      this.dot.setAttribute("cy", this.yLoss(score.value));
    }
    const tiles = this.tiles(score);
    this.strip.replaceChildren(...tiles.map(tile));
    this.handle.setAttribute("aria-valuetext", tiles.map(([label, value, note]) => `${label} ${value}, ${note}`).join("; "));
  }

  tiles(score) {
    const { sigma, shape, even, loss } = this.data;
    const [numbers, whole] = [this.numbers(this.rank), shape[0] * shape[1]];
    const lost = numbers > whole;
    const cost = lost ? `a loss: above break-even, ${even}` : `${grouped(numbers)} of ${grouped(whole)}`;
    const found = [
      ["Cut at rank", `${this.rank}`, `of ${sigma.length}`, false, MEANING.rank],
      ["Energy kept", percent(this.kept(this.rank)), "of Σσ²", false, MEANING.energy],
      ["Relative error", percent(this.error(this.rank)), "‖W − Wᵣ‖ / ‖W‖, the least there is", false, MEANING.error],
      ["Numbers kept", `${(numbers / whole).toFixed(2)}×`, cost, lost, MEANING.numbers],
    ];
    const name = `${loss.name[0].toUpperCase()}${loss.name.slice(1)} on ${loss.source}`;
    const told = score ? `${score.estimate ? "≈ " : ""}${this.told(score.value)}` : "…";
    return [...found, [name, told, this.note(score), false, this.meaning(score)]];
  }

  /** How the model's score is made, and of what. */
  meaning(score) {
    const { labelled, points } = this.data.loss;
    const scored = score?.scored || points.find((one) => one.final)?.scored;
    return `${labelled ? MEANING.accuracy : MEANING.perplexity}${scored ? ` Scored on ${scored}.` : ""}`;
  }

  note(score) {
    const { base, doing, reason } = this.data.loss;
    if (!score) return reason || doing || "not measured yet";
    const from = `base ${this.told(base)}`;
    if (score.estimate) return `${from} · ${score.rank ? "estimate" : "estimate between measured ranks"}${doing ? ` · ${doing}` : ""}`;
    if (!score.significant) return `${from} · no significant difference`;
    return score.low === null ? `${from} · measured` : `${from} · 95%: ${this.told(score.low)} to ${this.told(score.high)}`;
  }

  // The hand

  rankAt(event) {
    const { left } = this.host.getBoundingClientRect();
    const share = (event.clientX - left - this.plot.left) / (this.plot.right - this.plot.left);
    return Math.max(1, Math.min(this.data.sigma.length, Math.round(share * this.data.sigma.length)));
  }

  grab(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.before = this.rank;
    used = Date.now();
    this.dragging = true;
    this.svg.classList.add("dragging");
    this.host.setPointerCapture(event.pointerId);
    this.handle.focus({ preventScroll: true });
    this.hint(null);
    this.move(this.rankAt(event));
  }

  point(event) {
    if (this.dragging) this.move(this.rankAt(event));
    else this.hint(this.rankAt(event));
  }

  drop() {
    if (!this.dragging) return;
    this.dragging = false;
    this.svg.classList.remove("dragging");
    if (this.rank !== this.before) this.release(this.rank);
  }

  abandon() {
    if (!this.dragging) return;
    this.dragging = false;
    this.svg.classList.remove("dragging");
    this.move(this.before);
  }

  press(event) {
    if (event.key === "Escape") return this.waiting ? this.takeBack() : this.abandon();
    const full = this.data.sigma.length;
    const step = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10, PageUp: 10, Home: -full, End: full }[event.key];
    if (event.key === "Enter") this.settle();
    if (to === undefined) return undefined;
    event.preventDefault();
    event.stopPropagation();
    used = Date.now();
    this.move(this.rank + to);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.settle(), PATIENCE);
    return undefined;
  }

  /** Keys that have not come to rest do not count. */
  takeBack() {
    clearTimeout(this.waiting);
    this.waiting = undefined;
    this.move(this.sent.at(-1) ?? this.data.cut);
  }

  /** The keys rest: the cut counts. */
  settle() {
    if (!this.waiting) return;
    clearTimeout(this.waiting);
    this.waiting = undefined;
    if (this.rank !== this.data.cut) this.release(this.rank);
  }

  /** What lies under the pointer. */
  hint(rank) {
    if (!this.hover) return;
    this.hover.replaceChildren();
    if (rank === null || this.dragging) return;
    const x = this.x(rank - 0.5);
    const y = this.y(Math.max(this.data.sigma[rank - 1], NOTHING * this.data.sigma[0]));
    const right = rank < 0.6 * this.data.sigma.length;
    const told = `σ${subscript(rank)} = ${this.data.sigma[rank - 1].toPrecision(3)} · ${percent(this.kept(rank))} of the energy up to here`;
    this.hover.append(
      element("circle", { cx: x, cy: y, r: 4 }),
      element("text", { x: x + (right ? 10 : -10), y: y - 10, class: right ? "label" : "label end" }, told),
    );
  }
}

// Elements and words

function element(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function tile([label, value, note, warned, meaning]) {
  const made = document.createElement("div");
  made.className = warned ? "tile warned" : "tile";
  made.title = meaning;
  for (const [name, text] of Object.entries({ label, value, note })) {
    const line = document.createElement("span");
    line.className = name;
    line.textContent = text;
    made.append(line);
  }
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(share > 0.9995 && share < 1 ? 2 : 1)}%`;
}

function grouped(value) {
  return value.toLocaleString("en-US");
}

function subscript(value) {
  return [...String(value)].map((digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]).join("");
}

function superscript(value) {
  return [...String(value)].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign])).join("");
}

function spoken(value) {
  if (value >= 1e5 || (value > 0 && value < 1e-3)) {
    const power = Math.floor(Math.log10(value) + 1e-9);
    const lead = (value / 10 ** power).toPrecision(2).replace(/\.0$/, "");
    return `${lead === "1" ? "" : `${lead}·`}10${superscript(power)}`;
  }
  return value >= 100 ? grouped(Math.round(value)) : `${Number(value.toPrecision(3))}`;
}

/** Values that people say, of a log axis from 10^low to 10^high. */
function logTicks(low, high) {
  const leads = high - low > 3 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const lead of leads) {
      const at = Math.log10(lead) + power;
      if (at >= low && at <= high) found.push(lead * 10 ** power);
    }
  }
  return thinned(found, 8);
}

function thinned(values, most) {
  const every = Math.ceil(values.length / most);
  return values.filter((_, index) => index % every === 0);
}

function spread(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
  return found;
}

function linearTicks(full) {
  return full < 8 ? Array.from({ length: full }, (_, index) => index + 1) : [1, ...spread(2, full, 6)];
}
