// Files out of drops and pastes.

const MAX_FILES = 2000; // of one drop; a home folder dropped by mistake must not freeze the page

/** The files of a drop, folders walked. Call it inside the event: the transfer is empty afterwards. */
export async function filesOfDrop(transfer: DataTransfer): Promise<File[]> {
    const entries = [...transfer.items].filter((i) => i.kind === "file").map((i) => i.webkitGetAsEntry?.() ?? null);
    const plain = [...transfer.files];
    if (!entries.some((e) => e?.isDirectory)) return plain;
    const files: File[] = [];
    for (const entry of entries) if (entry) await walk(entry, files);
    return files;
}

async function walk(entry: FileSystemEntry, into: File[]): Promise<void> {
    if (into.length >= MAX_FILES || entry.name.startsWith(".")) return;
    if (entry.isFile) {
        const file = await new Promise<File | null>((done) => (entry as FileSystemFileEntry).file(done, () => done(null)));
        if (file) into.push(file);
        return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
        const some = await new Promise<FileSystemEntry[]>((done) => reader.readEntries(done, () => done([])));
        if (some.length === 0) return;
        for (const child of some) await walk(child, into);
    }
}

/** Pasted pictures are all called "image.png"; give them a name with the time in it. */
export function filesOfPaste(transfer: DataTransfer, word: string, now: Date): File[] {
    const stamp = [now.getFullYear(), now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes(), now.getSeconds()]
        .map((n) => String(n).padStart(2, "0"))
        .join("");
    return [...transfer.files].map((file, i) => {
        const anonymous = /^image\.(\w+)$/.exec(file.name);
        if (!anonymous) return file;
        const name = `${word}-${stamp.slice(0, 8)}-${stamp.slice(8)}${i ? `-${i + 1}` : ""}.${anonymous[1]}`;
        return new File([file], name, { type: file.type });
    });
}

export function hasFiles(transfer: DataTransfer | null): boolean {
    return transfer !== null && [...transfer.types].includes("Files");
}
