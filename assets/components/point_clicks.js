// Tells which point of a chart was clicked, however often the chart is drawn again: it is found as the pointer goes down.
const heard = new WeakSet(); // charts that are listened to
let charts, tell;

export default function (component) {
  const { data, setStateValue } = component;
  charts = data.charts.map((name) => `[class*="st-key-chart-${name}"] .js-plotly-plot`).join();
  tell = (recipe) => setStateValue("clicked", { recipe, time: Date.now() });
  document.addEventListener("pointerdown", listen, true);
  return () => document.removeEventListener("pointerdown", listen, true);
}

function listen(event) {
  const chart = event.target.closest?.(charts);
  if (!chart || heard.has(chart)) return;
  heard.add(chart);
  chart.on("plotly_click", ({ points }) => {
    const recipe = points[0]?.customdata?.[0];
    if (recipe) tell(recipe);
  });
}
