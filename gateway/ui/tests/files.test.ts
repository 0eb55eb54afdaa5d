import assert from "node:assert/strict";
import { test } from "node:test";
import { DROP_MAX, filesOfDrop } from "../src/files";

type Entry = { name: string; isFile: boolean; isDirectory: boolean };

/** Node 18 has no File of its own. */
const file = (name: string) => ({ name }) as File;

function fileEntry(name: string): Entry {
    return { name, isFile: true, isDirectory: false, file: (done: (f: File) => void) => done(file(name)) } as Entry;
}

/** Gives its children in parts, as browsers do. */
function folderEntry(name: string, children: readonly Entry[]): Entry {
    return {
        name,
        isFile: false,
        isDirectory: true,
        createReader() {
            let at = 0;
            return { readEntries: (done: (some: Entry[]) => void) => done(children.slice(at, (at += 100))) };
        },
    } as Entry;
}

function drop(entries: readonly Entry[], files: readonly File[] = []): DataTransfer {
    return { items: entries.map((e) => ({ kind: "file", webkitGetAsEntry: () => e })), files } as unknown as DataTransfer;
}

test("plain files come as they are", async () => {
    const files = [file("a.jpg"), file("b.jpg")];
    assert.deepEqual(await filesOfDrop(drop(files.map((f) => fileEntry(f.name)), files)), { files, cut: false, unread: [] });
});

test("folders are walked, hidden files left out", async () => {
    const inner = folderEntry("2026", [fileEntry("c.jpg"), fileEntry(".DS_Store")]);
    const { files, cut } = await filesOfDrop(drop([folderEntry("haber", [fileEntry("b.jpg"), inner, folderEntry(".git", [fileEntry("x")])]), fileEntry("a.jpg")]));
    assert.deepEqual(
        files.map((f) => f.name),
        ["b.jpg", "c.jpg", "a.jpg"],
    );
    assert.equal(cut, false);
});

test("what cannot be read is named, not left out in silence", async () => {
    const refuse = (_done: unknown, failed: (e: Error) => void) => failed(new Error("NotFoundError"));
    const gone = { ...fileEntry("gone.jpg"), file: refuse } as Entry;
    const locked = { ...folderEntry("locked", []), createReader: () => ({ readEntries: refuse }) } as Entry;
    const { files, unread } = await filesOfDrop(drop([folderEntry("haber", [gone, fileEntry("b.jpg"), locked])]));
    assert.deepEqual(files.map((f) => f.name), ["b.jpg"]);
    assert.deepEqual(unread, ["gone.jpg", "locked"]);
});

test("a drop has its limit, and says when there was more", async () => {
    const many = (n: number) => Array.from({ length: n }, (_, i) => fileEntry(`${i}.jpg`));
    const all = await filesOfDrop(drop([folderEntry("a", many(DROP_MAX)), folderEntry("b", [fileEntry(".hidden")])]));
    assert.deepEqual([all.files.length, all.cut], [DROP_MAX, false]);
    const more = await filesOfDrop(drop([folderEntry("a", many(DROP_MAX)), fileEntry("one more.jpg")]));
    assert.deepEqual([more.files.length, more.cut], [DROP_MAX, true]);
});
