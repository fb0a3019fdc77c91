/** What clients are told to do, and what they answer. */
export interface Task {
  url: string;
  clients: number;
  /** Of each client, one after another. */
  requests: number;
  promptTokens: number;
  outputTokens: number;
  stream: boolean;
  /** Other prompts for each turn. */
  seed: number;
}

export interface Answer {
  /** Of each request: from its first byte to its first token. */
  ttftMs: number[];
  tokensPerSecond: number;
}
