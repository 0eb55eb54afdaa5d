// Other queues under the same load as queue_load.c: node queue.mjs bullmq|rabbitmq|rabbitmq-quorum|beanstalkd PORT|SOCKET submit|jobs|rate A B
//   submit OUTSTANDING COUNT: acknowledged submits; jobs OUTSTANDING COUNT: until the last is done; rate PER_SECOND SECONDS;
//   preload COUNT; first COUNT: ms until a worker has its first job.
// The worker runs in a process of its own, as users run it. Each run begins with jobs that do not count, in both processes: V8 has
// compiled nothing yet, and services do not begin anew each second (BullMQ: 94 us of CPU a submit without, 67 with them).
// Prints one JSON object.
import { fork } from "node:child_process";
import net from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";

const payload = "x".repeat(300);
const queueName = process.env.LOAD_QUEUE ?? "load"; // one a run: what an earlier run left is not this run's work
const now = () => Number(process.hrtime.bigint()) / 1e6; // one clock for both processes

// ---- drivers: submit() resolves when the server has acknowledged; work(credit, done) calls done(startedAt) after each job ----

// Jobs are added one by one: addBulk of 32 or 500 took no less CPU a job (139 us of client and server, 127 so).
async function bullmq() {
  const { Queue, Worker } = await import("bullmq");
  // 18 % less CPU a job with 1000 outstanding, more with 64 and with one
  const enableAutoPipelining = mode !== "worker" && Number(a) >= 1000;
  const connection = { ...server, maxRetriesPerRequest: null, enableAutoPipelining };
  const options = { removeOnComplete: true };
  const queue = new Queue(queueName, { connection });
  await queue.waitUntilReady();
  let worker;
  return {
    submit: () => queue.add("j", { t: now(), payload }, options),
    async work(credit, done) {
      worker = new Worker(queueName, async (job) => job.data.t, { connection, concurrency: Math.min(credit, 128) });
      worker.on("completed", (job) => done(job.data.t));
      await worker.waitUntilReady();
    },
    async close() {
      await worker?.close(true);
      await queue.close();
    },
  };
}

// Classic queues of version 1, Debian's default, and quorum queues sync before they confirm; classic ones of version 2 do not (strace).
async function rabbitmq(queueArguments = {}) {
  const amqp = (await import("amqplib")).default;
  const connection = await amqp.connect({ hostname: server.host, port: server.port }, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queueName, { durable: true, arguments: queueArguments });
  return {
    submit: () =>
      new Promise((resolve, reject) =>
        channel.sendToQueue(queueName, Buffer.from(JSON.stringify({ t: now(), payload })), { persistent: true }, (error) => (error ? reject(error) : resolve())),
      ),
    async work(credit, done) {
      await channel.prefetch(credit);
      await channel.consume(queueName, (message) => {
        channel.ack(message);
        done(JSON.parse(message.content).t);
      });
    },
    close: () => connection.close(),
  };
}

// The text protocol, pipelined: answers come in the order of the requests.
function line(onLine) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(server);
    let rest = Buffer.alloc(0);
    socket.setNoDelay(true);
    socket.on("error", reject);
    socket.on("connect", () => resolve(socket));
    socket.on("data", (chunk) => {
      rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
      for (;;) {
        const end = rest.indexOf("\r\n");
        if (end < 0) return;
        const head = rest.toString("latin1", 0, end);
        const size = head.startsWith("RESERVED ") ? Number(head.split(" ")[2]) + 2 : 0;
        if (rest.length < end + 2 + size) return;
        const body = size ? rest.subarray(end + 2, end + size) : null;
        rest = rest.subarray(end + 2 + size);
        onLine(head, body);
      }
    });
  });
}

async function beanstalkd() {
  const connections = 1; // more are slower: with -f0 each delete of its own is an fsync (measured: 1: 3,600 jobs/s, 32: 310)
  const waiting = [];
  const producer = await line((head) => {
    const next = waiting.shift();
    if (head.startsWith("INSERTED") || head.startsWith("USING")) next.resolve();
    else next.reject(new Error(head));
  });
  waiting.push({ resolve() {}, reject() {} });
  producer.write(`use ${queueName}\r\n`);
  const workers = [];
  return {
    submit: () =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        const body = JSON.stringify({ t: now(), payload });
        producer.write(`put 100 0 60 ${body.length}\r\n${body}\r\n`);
      }),
    async work(credit, done) {
      for (let i = 0; i < Math.min(credit, connections); i++) {
        // reserve blocks its connection: one job at a time, its delete pipelined with the next reserve
        const begun = [];
        const worker = await line((head, job) => {
          if (job) {
            begun.push(JSON.parse(job).t);
            worker.write(`delete ${head.split(" ")[1]}\r\nreserve\r\n`);
          } else if (head === "DELETED") {
            done(begun.shift());
          }
        });
        worker.write(`watch ${queueName}\r\nignore default\r\nreserve\r\n`);
        workers.push(worker);
      }
    },
    async close() {
      producer.destroy();
      for (const worker of workers) worker.destroy();
    },
  };
}

const drivers = { bullmq, rabbitmq, "rabbitmq-quorum": () => rabbitmq({ "x-queue-type": "quorum" }), beanstalkd };
const [, , name, where, mode, a, b] = process.argv;
const server = where.startsWith("/") ? { path: where } : { host: "127.0.0.1", port: Number(where) };
const WARM = 3000;

function report(count, seconds, latency, extra = {}) {
  latency.sort((x, y) => x - y);
  const at = (p) => latency[Math.min(latency.length - 1, Math.floor(latency.length * p))] ?? 0;
  console.log(JSON.stringify({ jobs: count, seconds, per_s: count / seconds, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1), ...extra }));
}

async function submitAll(driver, outstanding, count, latency) {
  let sent = 0;
  const lane = async () => {
    while (sent < count) {
      sent++;
      const began = now();
      await driver.submit();
      latency?.push(now() - began);
    }
  };
  await Promise.all(Array.from({ length: outstanding }, lane));
}

// The worker's process: says "ready", "warm" after the jobs that do not count, then the latencies of `count` jobs.
async function workerMain() {
  const driver = await drivers[name]();
  const [count, warm] = [Number(a), Number(b)];
  const latency = [];
  let before = 0;
  let first = 0;
  const ended = new Promise((resolve) => {
    driver.work(256, (t) => {
      if (before < warm) {
        if (++before === warm) process.send({ warm: true });
        return;
      }
      first ||= now();
      latency.push(now() - t);
      if (latency.length === count) resolve();
    });
  });
  process.send({ ready: true });
  await ended;
  process.send({ latency, first, last: now() });
  await driver.close();
  process.disconnect();
}

function startWorker(count, warm) {
  const child = fork(fileURLToPath(import.meta.url), [name, where, "worker", String(count), String(warm)]);
  let ready, warmed, ended;
  const isReady = new Promise((resolve) => (ready = resolve));
  const isWarm = new Promise((resolve) => (warmed = resolve));
  const isEnded = new Promise((resolve) => (ended = resolve));
  child.on("message", (m) => (m.ready ? ready() : m.warm ? warmed() : ended(m)));
  return { isReady, isWarm, isEnded };
}

async function warmWorker(driver, count, outstanding) {
  const worker = startWorker(count, WARM);
  await worker.isReady;
  await submitAll(driver, outstanding, WARM);
  await worker.isWarm;
  return worker;
}

async function main() {
  if (mode === "worker") return workerMain();
  const driver = await drivers[name]();
  if (mode === "submit" || mode === "preload") {
    const latency = [];
    const [outstanding, count] = mode === "submit" ? [Number(a), Number(b)] : [1000, Number(a)];
    if (mode === "submit") await submitAll(driver, outstanding, WARM);
    const from = now();
    await submitAll(driver, outstanding, count, latency);
    report(count, (now() - from) / 1000, latency);
  } else if (mode === "jobs") {
    const worker = await warmWorker(driver, Number(b), Number(a));
    const from = now();
    await submitAll(driver, Number(a), Number(b));
    const end = await worker.isEnded;
    report(Number(b), (end.last - from) / 1000, end.latency);
  } else if (mode === "rate") {
    const [rate, count] = [Number(a), Number(a) * Number(b)];
    const worker = await warmWorker(driver, count, 64);
    const from = now();
    const pending = [];
    for (let i = 0; i < count; ) {
      while (i < count && now() >= from + (i * 1000) / rate) {
        pending.push(driver.submit());
        i++;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(pending);
    const end = await worker.isEnded;
    report(count, (end.last - from) / 1000, end.latency);
  } else {
    const from = now();
    const worker = startWorker(1, 0);
    const end = await worker.isEnded;
    report(1, (end.last - from) / 1000, [], { first_ms: end.first - from });
  }
  await driver.close();
}

await main();
