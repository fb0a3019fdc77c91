/**
 * Makes a prompt of a conversation: by the template of the tokenizer's configuration, as transformers does, or a plain
 * one where there is none. A model that was never trained on conversations continues the plain one as text; that text
 * ends where it would speak for the user.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import type { Engine } from "../engine.js";
import { ApiError } from "./errors.js";
import type { ChatMessage } from "./schemas/chat.js";

export interface ChatTemplate {
  /** Text with special tokens in it. @throws ApiError when the template refuses the conversation */
  render(messages: readonly ChatMessage[]): string;
  /** Text that ends an answer. */
  stop: readonly string[];
  /** Whether the template came with the model. */
  own: boolean;
}

const plainRoles: Record<string, string> = { assistant: "Assistant", user: "User", tool: "Tool" };

const plain: ChatTemplate = {
  own: false,
  stop: ["\nUser:", "\nTool:"],
  render(messages) {
    const lines = messages.map(({ role, content }) => {
      const name = plainRoles[role];
      return name ? `${name}: ${textOf(content)}` : textOf(content);
    });
    return `${lines.join("\n")}\nAssistant:`;
  },
};

const textOf = (content: ChatMessage["content"]): string =>
  typeof content === "string" ? content : content.map((part) => part.text).join("");

/** Reads the engine's template, once for each engine. @throws ApiError ERR_INTERNAL never; a bad template is plain */
export async function loadChatTemplate(engine: Engine, warn: (why: string) => void): Promise<ChatTemplate> {
  const { tokenizer } = engine.manifest;
  if (tokenizer?.kind !== "file" || tokenizer.configFile === undefined) return plain;
  try {
    const config = JSON.parse(await readFile(join(engine.directory, tokenizer.configFile), "utf8"));
    const source = templateIn(config.chat_template);
    return source === undefined ? plain : ownTemplate(new Template(source), config);
  } catch (error) {
    warn(`the tokenizer's chat template cannot be used: ${error instanceof Error ? error.message : error}`);
    return plain;
  }
}

/** A text, or a list of named ones of which "default" is for conversations. */
function templateIn(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as { name?: unknown; template?: unknown }[];
  const found = named.find(({ name }) => name === "default")?.template;
  return typeof found === "string" ? found : undefined;
}

function ownTemplate(template: Template, config: Record<string, unknown>): ChatTemplate {
  const special: Record<string, string> = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token"]) {
    const token = config[name] as string | { content?: unknown } | null | undefined;
    const text = typeof token === "object" ? token?.content : token;
    if (typeof text === "string") special[name] = text;
  }
  return {
    own: true,
    stop: [],
    render(messages) {
      try {
        return template.render({
          ...special,
          messages: messages.map(({ content, ...rest }) => ({ ...rest, content: textOf(content) })),
          add_generation_prompt: true,
        });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new ApiError("ERR_OPTION", `the model's chat template refuses this conversation: ${why}`, {
          param: "messages",
          cause: error,
        });
      }
    },
  };
}
