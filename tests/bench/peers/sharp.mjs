// The same seven variants by sharp, two photographs at a time: node sharp.mjs OUT AVIF_EFFORT each|once FILE...
// each: a pipeline a variant, from the file. once: the file is decoded once, and each size is made once for both formats.
// Prints {"cpu","wall","rss","files":{name:{variant:bytes}}}.
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';

const [out, avifEffort, mode, ...files] = process.argv.slice(2);
sharp.cache(false);
const result = {};

async function pixels(pipeline) {
  const { data, info: { width, height, channels } } = await pipeline.raw().toBuffer({ resolveWithObject: true });
  return () => sharp(data, { raw: { width, height, channels } });
}

async function one(file) {
  const name = path.basename(file);
  const image = () => sharp(file, { failOn: 'error' }).rotate();
  const { width, height, orientation } = await sharp(file).metadata();
  const full = orientation >= 5 ? height : width;
  result[name] = {};
  const write = async (pipeline, key) => {
    const data = await pipeline.toBuffer();
    result[name][key] = data.length;
    await fs.promises.writeFile(path.join(out, `${name}.${key}`), data);
  };
  const webp = (pipeline) => pipeline.webp({ quality: 80, effort: 4 });
  const avif = (pipeline) => pipeline.avif({ quality: 50, effort: Number(avifEffort), chromaSubsampling: '4:2:0' });
  const keep = mode === 'once' ? pixels : (pipeline) => () => pipeline.clone();
  const whole = mode === 'once' ? await pixels(image()) : image;
  await write(webp(whole()), 'full.webp');
  for (const w of [1280, 640, 320].filter((w) => w <= full)) {
    const sized = await keep(whole().resize(w));
    await write(webp(sized()), `${w}.webp`);
    await write(avif(sized()), `${w}.avif`);
  }
}

const queue = [...files];
const began = process.hrtime.bigint();
await Promise.all([0, 1].map(async () => {
  for (let f = queue.shift(); f; f = queue.shift()) await one(f);
}));
const { user, system } = process.cpuUsage();
const rss = Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
console.log(JSON.stringify({ cpu: (user + system) / 1e6, wall: Number(process.hrtime.bigint() - began) / 1e9, rss, files: result }));
