/** What every route may answer with. */
import Type, { type Static } from "typebox";

export const usage = Type.Object({
  prompt_tokens: Type.Integer(),
  completion_tokens: Type.Integer(),
  total_tokens: Type.Integer(),
});
export type Usage = Static<typeof usage>;

export const errorResponse = Type.Object(
  {
    error: Type.Object({
      message: Type.String(),
      type: Type.String(),
      param: Type.Unsafe<string | null>({ type: ["string", "null"] }),
      code: Type.String({ description: "Stable: ERR_…" }),
    }),
  },
  { $id: "Error", description: "OpenAI's shape, with our stable code." },
);

export const errors = (...statuses: number[]) =>
  Object.fromEntries(
    statuses.map((status) => [
      status,
      { description: meanings[status], content: { "application/json": { schema: { $ref: "Error#" } } } },
    ]),
  );

const meanings: Record<number, string> = {
  400: "The request is wrong; the message says where.",
  401: "An API key is missing or wrong.",
  403: "A page of another origin asks.",
  404: "There is no such model.",
  408: "The request did not come in time, or its answer was read too slowly.",
  413: "The body is too large.",
  415: "The body is not application/json.",
  429: "Too many requests at the same time; Retry-After says when to come back.",
  500: "A bug of ours.",
  503: "A rank was lost, or the server is shutting down.",
  504: "The request took longer than this server allows.",
};

/** One JSON document of that schema. */
export const json = (schema: object, description: string) => ({
  description,
  content: { "application/json": { schema } },
});
