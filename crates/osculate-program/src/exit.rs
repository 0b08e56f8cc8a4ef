//! Exit codes.

/// The work failed; the last line on standard error says why.
pub const FAILURE: u8 = 1;
/// What was asked for makes no sense, or its files are not there.
pub const USAGE: u8 = 2;
/// A signal ended the work: 128 and the number of `SIGINT`, as shells count it, for `SIGTERM` and
/// `SIGHUP` as well. What there was is saved, unless it was a second `SIGINT`.
pub const INTERRUPTED: u8 = 130;
/// The work is done and saved, but who read standard output went away before all of it was said:
/// 128 and the number of `SIGPIPE`.
pub const CLOSED_PIPE: u8 = 141;

/// The codes, for the end of a program's `--help`.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed; the last line on standard error says why
  2    what was asked for makes no sense
  130  ended by a signal (SIGINT, SIGTERM, SIGHUP); what there was is saved
       (what keeps no files ends at once, by the signal itself)
  141  done and saved, but standard output was closed before all of it was said";
