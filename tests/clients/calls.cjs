// Calls methods of the npm client `consul`: a line of JSON [number, method, ...arguments] on standard
// input each, a line [number, error or null, result] on standard output each, in the order of the
// answers. The method "watch" takes the name of another one and its options; every change is one more
// line, and "end" with the number of a watch ends it.
"use strict";

const Consul = require("consul");
const lines = require("node:readline").createInterface({ input: process.stdin });

const [host, port] = process.argv.slice(2);
const consul = new Consul({ host, port });
const watches = new Map();

const find = (name) => {
  const path = name.split(".");
  const owner = path.slice(0, -1).reduce((object, key) => object[key], consul);
  return owner[path.at(-1)].bind(owner);
};

const tell = (number, error, result) =>
  console.log(JSON.stringify([number, error, result === undefined ? null : result]));

const fail = (number, error) =>
  tell(number, { message: error.message, status: error.statusCode ?? null }, null);

const watch = (number, name, options) => {
  const watching = consul.watch({ method: find(name), options, backoffFactor: 10 });
  watches.set(number, watching);
  watching.on("change", (data) => tell(number, null, data));
  watching.on("error", (error) => fail(number, error));
};

lines.on("line", async (line) => {
  const [number, method, ...parameters] = JSON.parse(line);
  if (method === "watch") {
    watch(number, ...parameters);
  } else if (method === "end") {
    watches.get(parameters[0]).end();
    tell(number, null, null);
  } else {
    try {
      tell(number, null, await find(method)(...parameters));
    } catch (error) {
      fail(number, error);
    }
  }
});
lines.on("close", () => process.exit());
