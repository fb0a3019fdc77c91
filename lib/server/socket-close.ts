/**
 * Tells when a request's connection is gone. The socket is asked, not the response: that of a pipelined request has
 * none yet. One listener for each socket, however many requests it carries.
 */
import type { Socket } from "node:net";

const listeners = new WeakMap<Socket, Set<() => void>>();

/** @returns what to call when nobody needs to be told any more */
export function onSocketClose(socket: Socket, callback: () => void): () => void {
  if (socket.destroyed) {
    callback();
    return () => {};
  }
  let callbacks = listeners.get(socket);
  if (!callbacks) {
    const all = new Set<() => void>();
    callbacks = all;
    listeners.set(socket, all);
    socket.once("close", () => {
      for (const tell of all) tell();
    });
  }
  callbacks.add(callback);
  return () => callbacks.delete(callback);
}
