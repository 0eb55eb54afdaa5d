// Files out of drops and pastes.

/** Of one drop: a home folder dropped by mistake must not freeze the page. */
export const DROP_MAX = 2000;

export interface Dropped {
    files: File[];
    /** There were more than DROP_MAX. */
    cut: boolean;
    /** Names of files and folders that went meanwhile, or that nobody may read. */
    unread: string[];
}

/** The files of a drop, folders walked, the first DROP_MAX of them. Call it inside the event: the transfer is empty afterwards. */
export async function filesOfDrop(transfer: DataTransfer): Promise<Dropped> {
    const entries = [...transfer.items].filter((i) => i.kind === "file").map((i) => i.webkitGetAsEntry?.() ?? null);
    const drop: Dropped = { files: [], cut: false, unread: [] };
    if (!entries.some((e) => e?.isDirectory)) drop.files = [...transfer.files];
    else for (const entry of entries) if (entry && !drop.cut) await walk(entry, drop);
    return drop;
}

async function walk(entry: FileSystemEntry, drop: Dropped): Promise<void> {
    if (entry.name.startsWith(".")) return;
    if (entry.isFile && drop.files.length >= DROP_MAX) {
        drop.cut = true;
        return;
    }
    try {
        if (entry.isFile) {
            drop.files.push(await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed)));
            return;
        }
        const reader = (entry as FileSystemDirectoryEntry).createReader();
        for (;;) {
            const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
            if (some.length === 0) return;
            for (const child of some) {
                await walk(child, drop);
                if (drop.cut) return;
            }
        }
    } catch {
        drop.unread.push(entry.name);
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
