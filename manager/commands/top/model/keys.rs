//! What each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::super::cursor::Step;
use super::super::request::Steering;
use super::{Dialog, Effect, Message, Model, Screen};
use crate::plugins::name::FunctionName;

/// The longest text that can be typed: longer than any function's name.
const LONGEST_TEXT: usize = 256;
/// The most digits of a number of workers.
const MOST_DIGITS: usize = 5;

/// The keys, and what they do, for the help.
pub(in super::super) const KEYS: [(&str, &str); 18] = [
    ("Tab, 1 2 3 4", "functions, workers, events, problems"),
    ("Up Down, j k", "select a row; PgUp PgDn, Home End: faster"),
    ("Enter", "details of the function or the worker"),
    ("Esc", "back; ends a filter"),
    ("/", "show only rows with this text"),
    ("s, S", "sort by another column; in reverse"),
    ("p", "pause the function *"),
    ("r", "resume it"),
    ("d", "drain it: pause, until none of its jobs runs *"),
    ("R", "restart its workers, one after the other *"),
    ("n", "scale it to a number of workers *"),
    ("b", "roll back to the version served before *"),
    ("t", "try its file again, after a refusal or a rollback"),
    ("K", "end the job of the worker, as its timeout would *"),
    ("Ctrl-L", "draw the screen again"),
    ("Ctrl-Z", "suspend"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit; nothing stops but this"),
];

impl Model {
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Effect::Quit),
                KeyCode::Char('z') => Some(Effect::Suspend),
                KeyCode::Char('l') => Some(Effect::Redraw),
                _ => None,
            };
        }
        self.message = None;
        match self.dialog.take() {
            None => self.screen_key(key.code),
            Some(Dialog::Help) => None,
            Some(Dialog::Confirm(steering)) => self.confirm_key(steering, key.code),
            Some(Dialog::Filter { before }) => {
                self.filter_key(before, key.code);
                None
            }
            Some(Dialog::Scale { function, digits }) => {
                self.scale_key(function, digits, key.code);
                None
            }
        }
    }

    fn screen_key(&mut self, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('?' | 'h') => self.dialog = Some(Dialog::Help),
            KeyCode::Tab | KeyCode::Right => self.show(next(&self.screen)),
            KeyCode::BackTab | KeyCode::Left => self.show(previous(&self.screen)),
            KeyCode::Char('1') => self.show(Screen::Functions),
            KeyCode::Char('2') => self.show(Screen::Workers),
            KeyCode::Char('3') => self.show(Screen::Events),
            KeyCode::Char('4') => self.show(Screen::Problems),
            KeyCode::Up | KeyCode::Char('k') => self.step(Step::Up),
            KeyCode::Down | KeyCode::Char('j') => self.step(Step::Down),
            KeyCode::PageUp => self.step(Step::PageUp),
            KeyCode::PageDown | KeyCode::Char(' ') => self.step(Step::PageDown),
            KeyCode::Home | KeyCode::Char('g') => self.step(Step::First),
            KeyCode::End | KeyCode::Char('G') => self.step(Step::Last),
            KeyCode::Enter => self.open(),
            KeyCode::Esc | KeyCode::Backspace => self.go_back(),
            KeyCode::Char('/') => self.begin_filter(),
            KeyCode::Char('s') => self.sort(),
            KeyCode::Char('S') => self.reverse(),
            KeyCode::Char(letter) => return self.steering_key(letter),
            _ => {}
        }
        None
    }

    fn steering_key(&mut self, letter: char) -> Option<Effect> {
        if letter == 'K' {
            let steering = self.selected_worker().and_then(|pid| {
                let is_busy = self.worker(pid).is_some_and(crate::control::WorkerStatus::is_busy);
                is_busy.then_some(Steering::Kill(pid))
            });
            return self.ask(steering, "K ends a job: select a worker that runs one");
        }
        let of_function: fn(FunctionName) -> Steering = match letter {
            'p' => Steering::Pause,
            'r' => Steering::Resume,
            'd' => Steering::Drain,
            'R' => Steering::Restart,
            'b' => Steering::Rollback,
            't' => Steering::Retry,
            'n' => {
                match self.selected_function() {
                    Some(function) => self.dialog = Some(Dialog::Scale { function, digits: String::new() }),
                    None => self.refuse("n scales a function: select one"),
                }
                return None;
            }
            _ => return None,
        };
        let steering = self.selected_function().map(of_function);
        self.ask(steering, &format!("{letter} is for a function: select one"))
    }

    /// Asks the manager, or first the user where something is taken away.
    fn ask(&mut self, steering: Option<Steering>, without: &str) -> Option<Effect> {
        let Some(steering) = steering else {
            self.refuse(without);
            return None;
        };
        if steering.question().is_some() {
            self.dialog = Some(Dialog::Confirm(steering));
            return None;
        }
        self.send(steering)
    }

    fn send(&mut self, steering: Steering) -> Option<Effect> {
        self.say(format!("{} ...", steering.command()));
        Some(Effect::Ask(steering))
    }

    fn confirm_key(&mut self, steering: Steering, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Char('y' | 'Y') => self.send(steering),
            _ => {
                self.say(format!("{}: not done", steering.command()));
                None
            }
        }
    }

    fn scale_key(&mut self, function: FunctionName, mut digits: String, code: KeyCode) {
        match code {
            KeyCode::Enter => match digits.parse() {
                Ok(workers) => self.dialog = Some(Dialog::Confirm(Steering::Scale(function, workers))),
                Err(_) => self.say(format!("scale {function}: not done")),
            },
            KeyCode::Esc => self.say(format!("scale {function}: not done")),
            KeyCode::Backspace => {
                digits.pop();
                self.dialog = Some(Dialog::Scale { function, digits });
            }
            KeyCode::Char(digit) if digit.is_ascii_digit() && digits.len() < MOST_DIGITS => {
                digits.push(digit);
                self.dialog = Some(Dialog::Scale { function, digits });
            }
            _ => self.dialog = Some(Dialog::Scale { function, digits }),
        }
    }

    fn begin_filter(&mut self) {
        if let Some(filter) = self.filter_mut() {
            let before = filter.clone();
            self.dialog = Some(Dialog::Filter { before });
        }
    }

    fn filter_key(&mut self, before: String, code: KeyCode) {
        let Some(filter) = self.filter_mut() else { return };
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                *filter = before;
                return;
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(character) if filter.len() < LONGEST_TEXT => filter.push(character),
            _ => {}
        }
        self.dialog = Some(Dialog::Filter { before });
    }

    /// The filter of this screen's list.
    fn filter_mut(&mut self) -> Option<&mut String> {
        match self.screen {
            Screen::Functions => Some(&mut self.functions.filter),
            Screen::Workers | Screen::Function(_) => Some(&mut self.workers.filter),
            Screen::Events => Some(&mut self.event_list.filter),
            Screen::Problems | Screen::Worker(_) => None,
        }
    }

    /// The filter of this screen's list.
    pub(in super::super) fn filter(&self) -> &str {
        match self.screen {
            Screen::Functions => &self.functions.filter,
            Screen::Workers | Screen::Function(_) => &self.workers.filter,
            Screen::Events => &self.event_list.filter,
            Screen::Problems | Screen::Worker(_) => "",
        }
    }

    fn sort(&mut self) {
        match self.screen {
            Screen::Functions => self.functions.order = self.functions.order.next(),
            Screen::Workers | Screen::Function(_) => self.workers.order = self.workers.order.next(),
            _ => {}
        }
    }

    fn reverse(&mut self) {
        match self.screen {
            Screen::Functions => self.functions.reversed = !self.functions.reversed,
            Screen::Workers | Screen::Function(_) => self.workers.reversed = !self.workers.reversed,
            _ => {}
        }
    }

    fn step(&mut self, step: Step) {
        let page = self.page();
        match self.screen {
            Screen::Functions => {
                let rows = self.function_keys();
                self.functions.cursor.step(&rows, step, page);
            }
            Screen::Workers | Screen::Function(_) => {
                let rows = self.worker_keys();
                self.workers.cursor.step(&rows, step, page);
            }
            Screen::Events => {
                let below = &mut self.event_list.below;
                *below = match step {
                    Step::Up => below.saturating_add(1),
                    Step::Down => below.saturating_sub(1),
                    Step::PageUp => below.saturating_add(page),
                    Step::PageDown => below.saturating_sub(page),
                    Step::First => usize::MAX,
                    Step::Last => 0,
                };
            }
            Screen::Problems | Screen::Worker(_) => {}
        }
    }

    /// Shows one of the four lists.
    fn show(&mut self, screen: Screen) {
        self.back.clear();
        self.screen = screen;
    }

    fn open(&mut self) {
        let opened = match &self.screen {
            Screen::Functions => self.functions.cursor.key().cloned().map(Screen::Function),
            Screen::Workers | Screen::Function(_) => self.workers.cursor.key().copied().map(Screen::Worker),
            Screen::Events | Screen::Problems | Screen::Worker(_) => None,
        };
        if let Some(opened) = opened {
            if matches!(opened, Screen::Function(_)) {
                self.workers.filter.clear();
            }
            self.back.push(std::mem::replace(&mut self.screen, opened));
        }
    }

    fn go_back(&mut self) {
        match self.back.pop() {
            Some(screen) => self.screen = screen,
            None => {
                if let Some(filter) = self.filter_mut() {
                    filter.clear();
                }
            }
        }
    }

    /// The function that a key is for.
    fn selected_function(&self) -> Option<FunctionName> {
        match &self.screen {
            Screen::Functions => self.functions.cursor.key().cloned(),
            Screen::Function(function) => Some(function.clone()),
            _ => None,
        }
    }

    /// The worker that a key is for.
    fn selected_worker(&self) -> Option<u32> {
        match self.screen {
            Screen::Workers | Screen::Function(_) => self.workers.cursor.key().copied(),
            Screen::Worker(pid) => Some(pid),
            _ => None,
        }
    }

    fn refuse(&mut self, text: &str) {
        self.message = Some(Message { text: text.into(), is_error: true });
    }
}

fn next(screen: &Screen) -> Screen {
    match screen {
        Screen::Functions | Screen::Function(_) => Screen::Workers,
        Screen::Workers | Screen::Worker(_) => Screen::Events,
        Screen::Events => Screen::Problems,
        Screen::Problems => Screen::Functions,
    }
}

fn previous(screen: &Screen) -> Screen {
    match screen {
        Screen::Functions | Screen::Function(_) => Screen::Problems,
        Screen::Workers | Screen::Worker(_) => Screen::Functions,
        Screen::Events => Screen::Workers,
        Screen::Problems => Screen::Events,
    }
}
