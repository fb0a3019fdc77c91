/** What the validator found, said so that the sender can mend it: which field, what was expected, what came. */
import type { FastifySchemaValidationError } from "fastify/types/schema.js";
import { closest, shown } from "../options.js";
import { ApiError } from "./errors.js";
import { notSupported } from "./schemas/fields.js";

/** With ajv's `verbose`. */
interface Finding extends FastifySchemaValidationError {
  data?: unknown;
  parentSchema?: { description?: string; properties?: object; enum?: unknown[] };
}

/** "/messages/0/role" → messages[0].role */
const fieldOf = (path: string): string =>
  path
    .slice(1)
    .split("/")
    .map((part, i) => (/^\d+$/.test(part) ? `[${part}]` : `${i > 0 ? "." : ""}${part}`))
    .join("");

/** Of several findings, as of a field that may be one of many things, the last is about the field itself. */
export function validationError(findings: FastifySchemaValidationError[], where: string): ApiError {
  const finding = findings.at(-1) as Finding | undefined;
  if (!finding) return new ApiError("ERR_OPTION", `the ${where} is not what it should be`);
  const { keyword, params, instancePath, data, parentSchema } = finding;
  const within = fieldOf(instancePath);
  const inside = (name: unknown) => (within ? `${within}.${name}` : String(name));
  if (keyword === "additionalProperties") {
    const name = String(params.additionalProperty);
    const meant = closest(name, Object.keys(parentSchema?.properties ?? {}));
    return new ApiError(
      "ERR_OPTION",
      `unknown field \`${inside(name.slice(0, 100))}\`${meant ? `; did you mean \`${meant}\`?` : ""}`,
      { param: inside(name.slice(0, 100)) },
    );
  }
  if (keyword === "required") {
    const name = inside(params.missingProperty);
    return new ApiError("ERR_OPTION", `\`${name}\` is missing`, { param: name });
  }
  if (within === "") {
    return new ApiError("ERR_OPTION", `the ${where} must be a JSON object, got ${shown(data)}`);
  }
  const description = parentSchema?.description;
  if (description?.startsWith(notSupported)) {
    const why = description.slice(notSupported.length + 2);
    return new ApiError("ERR_NOT_SUPPORTED", `\`${within}\` is not supported: ${why}`, { param: within });
  }
  const expected =
    keyword === "anyOf" && description
      ? `is not what is wanted, which is: ${description[0]!.toLowerCase()}${description.slice(1)}`
      : `${expectation(keyword, params, finding.message)}, got ${shown(data)}`;
  return new ApiError("ERR_OPTION", `\`${within}\` ${expected}`, { param: within });
}

function expectation(keyword: string, params: Record<string, unknown>, message: string | undefined): string {
  if (keyword === "type") {
    const types = [params.type].flat().filter((type) => type !== "null");
    return `must be ${types.join(" or ")}`;
  }
  if (keyword === "enum") {
    const values = (params.allowedValues as unknown[]).filter((value) => value !== null);
    return `must be one of ${values.map((value) => JSON.stringify(value)).join(", ")}`;
  }
  return message ?? "is not valid";
}
