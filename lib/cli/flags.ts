/** Declares options: kebab-case, with the snake_case names of TensorRT-LLM and a KRAKEN_* variable beside each. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { closest } from "../options.js";

type Parse = (value: string, previous: unknown) => unknown;

export interface FlagSettings {
  parse?: Parse;
  /** Other names, not shown in the help. The snake_case form of the flag itself is always one. */
  aliases?: string[];
  /** Attribute names of options that contradict this one. */
  conflicts?: string[];
  /** Whether KRAKEN_… gives a default. Default: for every option that takes a value. */
  env?: boolean;
  hidden?: boolean;
}

/** Another name for an option: sets the same value. */
class AliasOption extends Option {
  constructor(
    flags: string,
    private readonly target: Option,
    { parse, conflicts }: FlagSettings,
  ) {
    super(flags);
    this.hideHelp();
    if (parse) this.argParser(parse);
    if (conflicts) this.conflicts(conflicts);
  }

  override attributeName(): string {
    return this.target.attributeName();
  }
}

export function environmentName(flag: string): string {
  return `KRAKEN_${flag.slice(2).replaceAll("-", "_").toUpperCase()}`;
}

export function addFlag(
  command: Command,
  flags: string,
  description: string,
  settings: FlagSettings = {},
): void {
  const option = new Option(flags, description);
  if (settings.parse) option.argParser(settings.parse);
  if (settings.conflicts) option.conflicts(settings.conflicts);
  if (settings.hidden) option.hideHelp();
  const long = option.long!;
  if (settings.env ?? option.required) option.env(environmentName(long));
  command.addOption(option);
  const value = option.required ? ` ${flags.slice(flags.indexOf("<"))}` : "";
  const snake = `--${long.slice(2).replaceAll("-", "_")}`;
  for (const name of new Set([snake, ...(settings.aliases ?? [])])) {
    if (name !== long) command.addOption(new AliasOption(`${name}${value}`, option, settings));
  }
}

/** A whole number; the library checks its range. */
export const integer: Parse = (value) => {
  if (!/^-?\d+$/.test(value) || !Number.isSafeInteger(Number(value))) {
    throw new InvalidArgumentError("It must be a whole number.");
  }
  return Number(value);
};

/** Whole numbers with commas between: "4,8". The library checks their range. */
export const integers: Parse = (value) => value.split(",").map((word) => integer(word.trim(), undefined));

export const number: Parse = (value) => {
  if (value.trim() === "" || !Number.isFinite(Number(value)))
    throw new InvalidArgumentError("It must be a number.");
  return Number(value);
};

/** Seeds may exceed what a number holds exactly. */
export const seed: Parse = (value) => {
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError("It must be a whole number of at least 0.");
  return Number.isSafeInteger(Number(value)) ? Number(value) : BigInt(value);
};

/** Token ids: "1,2,3", "1 2 3" or a JSON list. */
export const tokens: Parse = (value) => {
  const words = value
    .replaceAll(/[[\],]/g, " ")
    .split(/\s+/)
    .filter(Boolean);
  const bad = words.find((word) => !/^-?\d+$/.test(word));
  if (bad !== undefined)
    throw new InvalidArgumentError(`"${bad}" is not a token id: give numbers, as in 1,2,3.`);
  return words.map(Number);
};

/** Words with commas between: "boolq,cb". */
export const words: Parse = (value) =>
  value
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);

/** An option that may be given several times. */
export const list: Parse = (value, previous) => [...((previous as string[] | undefined) ?? []), value];

/** One of a few words; `also` maps other spellings to them. */
export function choice(words: readonly string[], also: Record<string, string> = {}): Parse {
  return (value) => {
    const word = also[value] ?? value;
    if (words.includes(word)) return word;
    const meant = closest(value, words);
    throw new InvalidArgumentError(
      `It must be ${words.join(" or ")}.${meant ? `\n(Did you mean ${meant}?)` : ""}`,
    );
  };
}
