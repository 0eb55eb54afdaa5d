// Files out of drops and pastes.

/** Of one drop: a home folder dropped by mistake must not freeze the page. */
export const DROP_MAX = 2000;

/** The files of a drop, folders walked, the first DROP_MAX of them; `cut`: there are more. Call it inside the event: the transfer is empty afterwards. */
export async function filesOfDrop(transfer: DataTransfer): Promise<{ files: File[]; cut: boolean }> {
    const entries = [...transfer.items].filter((i) => i.kind === "file").map((i) => i.webkitGetAsEntry?.() ?? null);
    const plain = [...transfer.files];
    if (!entries.some((e) => e?.isDirectory)) return { files: plain, cut: false };
    const files: File[] = [];
    let cut = false;
    for (const entry of entries) cut ||= entry !== null && (await walk(entry, files));
    return { files, cut };
}

/** True: there was no room for all. */
async function walk(entry: FileSystemEntry, into: File[]): Promise<boolean> {
    if (entry.name.startsWith(".")) return false;
    if (entry.isFile) {
        if (into.length >= DROP_MAX) return true;
        const file = await new Promise<File | null>((done) => (entry as FileSystemFileEntry).file(done, () => done(null)));
        if (file) into.push(file);
        return false;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
        const some = await new Promise<FileSystemEntry[]>((done) => reader.readEntries(done, () => done([])));
        if (some.length === 0) return false;
        for (const child of some) if (await walk(child, into)) return true;
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
