/** The comparison as a picture: bars of milliseconds, one panel for each model and metric. */
import { importPeer } from "./install.js";
import { models } from "./options.js";
import { metricName, peerName } from "./report.js";
import { figure, type PeersReport } from "./results.js";

/** What is used of vega and vega-lite. */
interface VegaLite {
  compile(spec: object): { spec: object };
}
interface Vega {
  parse(spec: object): object;
  View: new (runtime: object, options: { renderer: "none" }) => { toSVG(): Promise<string> };
}

export interface Bar {
  model: string;
  metric: string;
  peer: string;
  ms: number;
  ours: boolean;
}

export function bars(report: PeersReport): Bar[] {
  return report.results
    .filter(({ status }) => status === "measured")
    .flatMap((result) =>
      report.metrics.map((metric) => ({
        model: models[result.model],
        metric: metricName(metric),
        peer: peerName(result),
        ms: figure(report, result, metric).medianMs,
        ours: result.runtime === "kraken-engine",
      })),
    );
}

/** Readable on white and on near-black: the same inks serve both. */
const ink = "#808890";
const colours = { ours: "#0f9d8a", peers: "#8a93a6" };

/** The vega-lite specification: models side by side, one row of bars for each metric. */
export function chartSpec(report: PeersReport): object {
  const all = bars(report);
  const panel = (model: string, metric: string) => {
    const values = all.filter((bar) => bar.model === model && bar.metric === metric);
    values.sort((a, b) => a.ms - b.ms);
    return {
      title: { text: `${model}, ${metric}`, anchor: "start", fontSize: 12 },
      width: 260,
      height: { step: 17 },
      data: { values },
      encoding: {
        y: { field: "peer", type: "nominal", sort: null, title: null },
        x: { field: "ms", type: "quantitative", title: "ms", axis: { tickCount: 4 } },
      },
      layer: [
        {
          mark: { type: "bar", cornerRadiusEnd: 2, height: { band: 0.75 } },
          encoding: {
            color: {
              field: "ours",
              type: "nominal",
              legend: null,
              scale: { domain: [true, false], range: [colours.ours, colours.peers] },
            },
          },
        },
        {
          mark: { type: "text", align: "left", dx: 4, fontSize: 11 },
          encoding: { text: { field: "ms", type: "quantitative", format: ",.3~r" } },
        },
      ],
    };
  };
  const names = [...new Set(all.map((bar) => bar.model))];
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: null,
    config: {
      font: "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif",
      view: { stroke: null },
      title: { color: ink },
      axis: {
        labelColor: ink,
        titleColor: ink,
        grid: false,
        domainColor: ink,
        tickColor: ink,
        labelLimit: 220,
      },
      text: { color: ink },
    },
    hconcat: names.map((model) => ({
      vconcat: report.metrics.map((metric) => panel(model, metricName(metric))),
    })),
  };
}

export async function chartSvg(report: PeersReport): Promise<string> {
  const [vegaLite, vega] = await Promise.all([importPeer<VegaLite>("vega-lite"), importPeer<Vega>("vega")]);
  const view = new vega.View(vega.parse(vegaLite.compile(chartSpec(report)).spec), { renderer: "none" });
  return view.toSVG();
}
