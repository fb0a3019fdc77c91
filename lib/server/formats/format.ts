/** How a generation becomes a response: whole, or in chunks of a stream. One for each kind of completions. */
import type { GenerationEvent, SampleResult } from "../../sample-stream.js";
import type { Usage } from "../schemas/responses.js";

/** One choice of the response as it grows. What it gives are the `data` of events. */
export interface ChoiceFormat {
  /** What comes before the first token. */
  begin(): string | undefined;
  token(event: GenerationEvent): string | undefined;
  end(finishReason: string): string;
  /** The choice of a response that is no stream. */
  whole(sample: SampleResult): object;
}

export interface ResponseFormat {
  choice(index: number): ChoiceFormat;
  /** The last event of a stream, when asked for. */
  usage(usage: Usage): string;
  whole(choices: object[], usage: Usage): object;
}

/** The parts that all events of a response share, as text around a choice: most of an event is never built again. */
export function chunkFrame(common: object, includeUsage: boolean): (choice: string) => string {
  const head = JSON.stringify(common).slice(0, -1);
  const tail = includeUsage ? `],"usage":null}` : "]}";
  return (choice) => `${head},"choices":[${choice}${tail}`;
}

export const usageChunk = (common: object, usage: Usage): string =>
  JSON.stringify({ ...common, choices: [], usage });
