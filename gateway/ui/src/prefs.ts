// Choices kept in the browser: a new tab begins with the last one, and keeps its own. Storage may be forbidden; then they last as long as the page.
const PREFIX = "kervan.";

export function readPref(name: string): string | null {
    try {
        return sessionStorage.getItem(PREFIX + name) ?? localStorage.getItem(PREFIX + name);
    } catch {
        return null;
    }
}

export function savePref(name: string, value: string): void {
    try {
        sessionStorage.setItem(PREFIX + name, value);
        localStorage.setItem(PREFIX + name, value);
    } catch {
        return; // forbidden or full: nothing depends on it
    }
}
