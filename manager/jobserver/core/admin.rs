//! The administrative commands: a line in, text out. Commands that change a server are missing, even `shutdown`: this
//! server ends when its owner ends it.

use std::io::Write;

use super::ServerCore;

impl ServerCore {
    /// A listing ends with a line that is a full stop; every other answer is one line.
    pub(super) fn answer_command(&self, line: &[u8]) -> Vec<u8> {
        let word = line.trim_ascii().split(|byte| *byte == b' ').next().unwrap_or_default();
        match word.to_ascii_lowercase().as_slice() {
            b"status" => self.list_functions(),
            b"workers" => self.list_connections(),
            b"version" => format!("OK {}\n", self.identity.version).into_bytes(),
            b"getpid" => format!("OK {}\n", self.identity.pid).into_bytes(),
            // gearmand has no space before the word either.
            _ => [b"ERR UNKNOWN_COMMAND Unknown+server+command", one_line(word).as_slice(), b"\r\n"].concat(),
        }
    }

    /// `FUNCTION\tTOTAL\tRUNNING\tWORKERS`
    fn list_functions(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, function) in self.functions.iter() {
            text.extend(one_line(name));
            let (total, running, workers) = (function.total, function.running, function.workers.len());
            let _ = writeln!(text, "\t{total}\t{running}\t{workers}");
        }
        text.extend(b".\n");
        text
    }

    /// `NUMBER ADDRESS ID : FUNCTION ...`, including clients and the connection that asks. gearmand uses its
    /// descriptors as numbers.
    fn list_connections(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (id, connection) in &self.connections {
            let _ = write!(text, "{} {} ", id.0, connection.address);
            text.extend(one_line(&connection.id));
            text.extend(b" :");
            for name in connection.offers.iter().rev() {
                text.push(b' ');
                text.extend(one_line(name));
            }
            text.push(b'\n');
        }
        text.extend(b".\n");
        text
    }
}

/// Names and ids may be any bytes: they must neither end a line of a listing nor control the terminal that shows it.
fn one_line(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }).collect()
}
