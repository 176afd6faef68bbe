// A clock for silences and pauses: milliseconds that only go forward. performance.now() stands still in some browsers while
// the computer sleeps; Date.now() jumps when somebody sets the clock, and after a jump back no silence would end for as long.

const SLEPT = 1000; // by so much more than the other clock the wall clock goes on while the computer sleeps

let steady = performance.now();
let wall = Date.now();
let total = 1; // not 0: that is "never"

export function now() {
  const [steadyNow, wallNow] = [performance.now(), Date.now()];
  const [passed, passedOnTheWall] = [steadyNow - steady, wallNow - wall];
  total += passedOnTheWall - passed > SLEPT ? passedOnTheWall : passed;
  [steady, wall] = [steadyNow, wallNow];
  return total;
}
