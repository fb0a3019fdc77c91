/** How long a run will take, from the cell that is being measured. */

/** A token that is decoded reads all weights, as a short prompt does. */
const promptTokensOfAStep = 16;

/** What a round of a cell costs in comparison with others: tokens that go through the model. */
export const roundWork = (batch: number, context: number, outputTokens: number): number =>
  batch * (context + promptTokensOfAStep * (outputTokens - 1));

export interface CellCost {
  /** roundWork() of it. */
  work: number;
  /** 0 for a cell that is not begun, which takes its time from the one that is. */
  secondsPerRound: number;
  /** Rounds to go, with those that warm up. */
  rounds: number;
}

/** @param maxSeconds of one cell */
export function secondsLeft(current: CellCost, following: readonly CellCost[], maxSeconds: number): number {
  const one = ({ work, secondsPerRound, rounds }: CellCost) => {
    const perRound = secondsPerRound || (current.secondsPerRound * work) / current.work;
    return Math.min(maxSeconds, perRound * Math.max(0, rounds));
  };
  return [current, ...following].reduce((sum, cell) => sum + one(cell), 0);
}
