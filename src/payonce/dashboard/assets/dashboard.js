// Draws charts from the figures that stand in the page, and keeps what is live in view. Nothing here makes markup of text.
"use strict";
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
  const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const units = {
    dollars: (value) => "$" + exact.format(value),
    percent: (value) => exact.format(value) + " %",
    seconds: (value) => value >= 1 ? exact.format(value) + " s" : value >= 0.001 ? exact.format(value * 1e3) + " ms" : exact.format(value * 1e6) + " µs",
    count: (value) => short.format(value),
  };
  const drawn = new Map();

  const draw = (place) => {
    const told = JSON.parse(place.dataset.chart);
    const write = units[told.unit] || units.count;
    const shown = (_, value) => value == null ? "–" : write(value);
    const powers = (_, splits) => splits.map((value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) ? value : null);
    const logs = told.unit === "seconds";
    const axis = { stroke: style("--soft"), ticks: { show: false }, font: "12px " + style("--text") };
    const grid = { stroke: style("--grid"), width: 1 };
    const days = told.at.at(-1) - told.at[0] > 2 * 86400;
    const last = told.at.findLastIndex((_, step) => told.series.some(({ values }) => values[step] != null));
    const alone = (chart, place) => chart.data[place].flatMap((value, step, all) => value != null && all[step - 1] == null && all[step + 1] == null ? [step] : []);
    const rest = (chart) => { if (chart.cursor.idx == null && last >= 0) chart.setLegend({ idx: last }); };  // what is latest, until another step is pointed at
    const day = { day: "numeric", month: "short" }, minute = { hour: "2-digit", minute: "2-digit" };
    const clock = new Intl.DateTimeFormat("en-GB", days ? day : minute), exactly = new Intl.DateTimeFormat("en-GB", { ...day, ...minute });
    const chart = new uPlot({
      width: Math.max(place.clientWidth, 120),
      height: 200,
      scales: { y: logs ? { distr: 3 } : { range: (_, low, high) => [Math.min(0, low), told.most || (high > 0 ? high * 1.12 : 1)] } },
      axes: [
        { ...axis, grid, size: 34, space: 62, values: (_, splits) => splits.map((at) => clock.format(at * 1000)) },
        { ...axis, ...(logs ? { filter: powers, grid: { ...grid, filter: powers } } : { grid }), size: 66, values: (_, values) => values.map((value) => value == null ? "" : write(value)) },
      ],
      series: [{ label: "at", value: (_, at) => at == null ? "–" : exactly.format(at * 1000) }, ...told.series.map((each, place) => {
        const stroke = style("--series-" + (place + 1));
        return { label: each.label, stroke, width: 2, value: shown, points: { show: told.at.length < 50, size: 6, filter: (chart, at, every) => every ? null : alone(chart, at) }, fill: told.filled ? stroke + "22" : undefined };
      })],
      hooks: { ready: [rest], setCursor: [rest] },
    }, [told.at, ...told.series.map((each) => each.values)], place);
    drawn.get(place)?.destroy();
    drawn.set(place, chart);
  };
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

  document.addEventListener("DOMContentLoaded", () => {
    const nav = document.querySelector(".top nav"), here = nav?.querySelector("[aria-current]");
    if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - 40;
    if (window.uPlot) {
      requestAnimationFrame(() => requestAnimationFrame(drawAll)); // the figures are painted first
      let width = innerWidth;
      addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    }
    document.querySelector("[data-live]")?.addEventListener("click", ({ currentTarget: button }) => {
      const paused = document.documentElement.classList.toggle("paused");
      button.textContent = paused ? "Go on" : "Pause";
      button.previousElementSibling.textContent = paused ? "Paused" : "Follows new requests";
    });
  });
  // A paused tail asks for nothing.
  document.addEventListener("htmx:before:request", (event) => {
    if (document.documentElement.classList.contains("paused") && event.target.matches?.("[data-tail]")) event.preventDefault();
  });
})();
