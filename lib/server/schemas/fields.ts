/**
 * Fields of requests. One schema is the validation, the OpenAPI document and the TypeScript type. Every optional field
 * may be null, as OpenAI's may: clients send what they do not set.
 */
import Type, { type TOptional, type TUnsafe } from "typebox";

interface Range {
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
}

const field = <T>(type: string, description: string, rest: object = {}): TOptional<TUnsafe<T | null>> =>
  Type.Optional(Type.Unsafe<T | null>({ type: [type, "null"], description, ...rest }));

export const integer = (description: string, range: Range = {}) =>
  field<number>("integer", description, range);
export const number = (description: string, range: Range = {}) => field<number>("number", description, range);
export const boolean = (description: string) => field<boolean>("boolean", description);
export const text = (description: string) => field<string>("string", description);

/** Has no effect; taken because clients send it. */
export const ignored = () =>
  Type.Optional(Type.Unsafe<unknown>({ description: "Accepted, without effect." }));

export const notSupported = "Not supported";

/** OpenAI has it, this server does not: only null, or what amounts to leaving it out. */
export const unsupported = (why: string, neutral: unknown[] = []) =>
  Type.Optional(Type.Unsafe<unknown>({ enum: [null, ...neutral], description: `${notSupported}: ${why}` }));

export const object = <P extends Parameters<typeof Type.Object>[0]>(
  $id: string,
  properties: P,
  description?: string,
) => Type.Object(properties, { $id, additionalProperties: false, ...(description ? { description } : {}) });

export const tokenId = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });

/** A schema that Fastify knows by its `$id`, where another one uses it. */
export const ref = <T>($id: string) => Type.Unsafe<T>({ $ref: `${$id}#` });
