// Stands before each script that tests/support/npm_client.py runs: reads commands, and writes their values.
//
// A line in is {id, command, given}; a line out is {id, value} or {id, error}, or what `tell` tells. A script puts its
// functions into `commands`; `listen` is called behind it.

import { createInterface } from "node:readline";

const commands = {};

const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

function listen() {
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const { id, command, given } = JSON.parse(line);
    try {
      tell({ id, value: await commands[command](given) });
    } catch (error) {
      tell({ id, error: `${error?.stack ?? error}` });
    }
  });
}

