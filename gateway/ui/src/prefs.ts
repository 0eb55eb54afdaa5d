// Choices kept in the browser. Storage may be forbidden; then they last as long as the page.
const PREFIX = "kervan.";

export function readPref(name: string): string | null {
    try {
        return localStorage.getItem(PREFIX + name);
    } catch {
        return null;
    }
}

export function savePref(name: string, value: string): void {
    try {
        localStorage.setItem(PREFIX + name, value);
    } catch {
        return; // forbidden or full: nothing depends on it
    }
}
