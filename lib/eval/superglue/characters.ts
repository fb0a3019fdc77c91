/** Text as Python sees it: offsets in SuperGLUE's files count code points, not the UTF-16 units of JavaScript. */

/** Code points begin ≤ i < end. */
export function slice(text: string, begin: number, end?: number): string {
  return [...text].slice(begin, end).join("");
}

export const length = (text: string): number => [...text].length;

/** Words between white space. */
export const words = (text: string): string[] => text.trim().split(/\s+/);

/** The first character in lower case. */
export function uncapitalized(text: string): string {
  return slice(text, 0, 1).toLowerCase() + slice(text, 1);
}

export function capitalized(text: string): string {
  return slice(text, 0, 1).toUpperCase() + slice(text, 1);
}
