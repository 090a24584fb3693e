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
    const axis = { stroke: style("--soft"), grid: { stroke: style("--grid"), width: 1 }, ticks: { show: false }, font: "12px " + style("--text") };
    const chart = new uPlot({
      width: Math.max(place.clientWidth, 120),
      height: 200,
      scales: { y: told.unit === "seconds" ? { distr: 3 } : { range: (_, low, high) => [Math.min(0, low), told.most || (high > 0 ? high * 1.12 : 1)] } },
      axes: [{ ...axis, space: 70 }, { ...axis, size: 66, values: (_, values) => values.map((value) => value == null ? "" : write(value)), filter: told.unit === "seconds" ? (chart, splits) => splits.map((value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9 ? value : null) : undefined }],
      series: [{ value: (_, at) => at == null ? "–" : new Date(at * 1000).toLocaleString() }, ...told.series.map((each, place) => {
        const stroke = style("--series-" + (place + 1));
        return { label: each.label, stroke, width: 2, value: shown, spanGaps: false, points: { size: 5 }, fill: told.filled ? stroke + "22" : undefined, paths: told.bars ? uPlot.paths.bars({ size: [0.7, 26] }) : undefined };
      })],
    }, [told.at, ...told.series.map((each) => each.values)], place);
    drawn.get(place)?.destroy();
    drawn.set(place, chart);
  };
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

  document.addEventListener("DOMContentLoaded", () => {
    if (window.uPlot) {
      requestAnimationFrame(() => requestAnimationFrame(drawAll)); // the figures are painted first
      let width = innerWidth;
      addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; drawAll(); } });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    }
    document.querySelector("[data-live]")?.addEventListener("click", (event) => {
      const button = event.currentTarget;
      const going = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(going));
      button.textContent = going ? "Pause" : "Go on";
      document.documentElement.classList.toggle("paused", !going);
    });
  });
  // A paused tail asks for nothing; one that fails says so until it works again.
  document.addEventListener("htmx:before:request", (event) => {
    if (document.documentElement.classList.contains("paused") && event.target.matches?.("[data-tail]")) event.preventDefault();
  });
})();
