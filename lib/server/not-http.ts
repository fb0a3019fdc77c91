/** Answers what never became a request: bytes that are not HTTP, headers too large, a request that never ended. */
import type { Socket } from "node:net";
import { ApiError } from "./errors.js";

const answers: Record<string, [status: number, reason: string, message: string]> = {
  HPE_HEADER_OVERFLOW: [431, "Request Header Fields Too Large", "the headers are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "Request Timeout", "the request did not come in time"],
};

export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason, message] = answers[error.code ?? ""] ?? [400, "Bad Request", "this is not HTTP"];
  const body = JSON.stringify(new ApiError("ERR_BODY", message, { status }).body());
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  // A client that never reads its answer does not get to keep the socket either.
  setTimeout(() => socket.destroy(), 1000).unref();
}
