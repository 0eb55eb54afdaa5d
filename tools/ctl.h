/* `kervan ctl`: the operator's end of the admin socket. */
#ifndef KV_TOOLS_CTL_H
#define KV_TOOLS_CTL_H

/* [-s SOCKET] [-j] [--yes] [COMMAND …]. Without a command: lines from stdin, with a prompt on a
 * terminal. Returns the exit status: 0 OK; 1 an error was answered (or `doctor` found something),
 * or the broker is there and does not answer; 2 no broker to talk to, or wrong usage. Settings
 * other than KERVAN_ADMIN and KERVAN_DATA do not matter. */
int kv_ctl(int argc, char **argv);

#endif
