/** What the routes that generate have in common, for the OpenAPI document. */

/** Statuses of answers that are none. */
export const generating = [400, 401, 403, 404, 413, 415, 429, 500, 503, 504] as const;

/** A JSON document, or with `stream` the same in chunks. */
export const streamed = ($id: string) => ({
  description: "The whole; or with `stream` server-sent events, each a chunk of it, the last one [DONE].",
  content: {
    "application/json": { schema: { $ref: `${$id}#` } },
    "text/event-stream": { schema: { description: "Events, each with a chunk as its data." } },
  },
});
