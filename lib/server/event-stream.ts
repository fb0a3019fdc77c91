/**
 * Server-sent events on a reply. Headers go out with the first event, so that what fails before can still be an
 * answer with a status of its own. The engine does not wait for readers: what one leaves unread is bounded here.
 */
import type { FastifyReply } from "fastify";

export interface EventStreamOptions {
  keepAliveSeconds: number;
  maxUnsentBytes: number;
  readSeconds: number;
  /** The reader is too slow; called once. */
  onSlow: (why: string) => void;
}

export class EventStream {
  #started = false;
  #ended = false;
  /** Sent something since the last look. */
  #sent = false;
  readonly #keepAlive: NodeJS.Timeout;
  #stuck: NodeJS.Timeout | undefined;

  constructor(
    private readonly reply: FastifyReply,
    private readonly options: EventStreamOptions,
  ) {
    this.#keepAlive = setInterval(() => {
      if (!this.#sent) this.#write(": waiting\n\n");
      this.#sent = false;
    }, options.keepAliveSeconds * 1000);
  }

  get started(): boolean {
    return this.#started;
  }

  /** One event; `data` is on one line. */
  send(data: string): void {
    this.#sent = true;
    this.#write(`data: ${data}\n\n`);
  }

  end(): void {
    if (this.#ended) return;
    this.#stop();
    if (this.#started) this.reply.raw.end();
  }

  /** Also what was not read yet is thrown away. */
  destroy(): void {
    this.#stop();
    this.reply.raw.destroy();
  }

  #stop(): void {
    this.#ended = true;
    clearInterval(this.#keepAlive);
    clearTimeout(this.#stuck);
  }

  #start(): void {
    this.#started = true;
    this.reply.hijack();
    this.reply.raw.writeHead(200, {
      ...(this.reply.getHeaders() as Record<string, string>),
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    });
  }

  readonly #onDrain = (): void => {
    clearTimeout(this.#stuck);
    this.#stuck = undefined;
  };

  #write(text: string): void {
    if (this.#ended) return;
    const { raw } = this.reply;
    // Headers and the first event go out together, through the response. After that the chunks are framed here and
    // given to the socket: it is half the work, for every token. A pipelined response has no socket before its turn.
    const first = !this.#started;
    if (first) this.#start();
    const socket = first ? null : raw.socket;
    const flows = socket
      ? socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
      : raw.write(text);
    if (flows) return;
    const { maxUnsentBytes, readSeconds } = this.options;
    if (raw.writableLength > maxUnsentBytes) {
      this.#slow(`more than ${maxUnsentBytes} bytes wait for it`);
    } else if (!this.#stuck) {
      this.#stuck = setTimeout(() => this.#slow(`it read nothing for ${readSeconds} s`), readSeconds * 1000);
      (socket ?? raw).once("drain", this.#onDrain);
    }
  }

  #slow(why: string): void {
    if (this.#ended) return;
    this.#stop();
    this.options.onSlow(`the client reads too slowly: ${why}`);
  }
}
