//! A guest whose processor has lost its timer.
//!
//! Seen with software emulation of two processors, rarely: the timer of the second fires a few times and never again. The guest
//! then neither goes on nor ends; all that it still does is to say so, about once a minute.

/// What Linux says of a thread that sleeps although its timer is over for seconds (`kernel/rcu/tree_stall.h`).
const OVERDUE: &str = "Possible timer handling issue on cpu=";

/// How often it must be said: a host that is short of time may delay a timer, too. It costs no more than another try.
const CERTAIN: u32 = 2;

/// Counts the timers that a guest misses.
#[derive(Debug, Default)]
pub(super) struct TimerWatch {
    reports: u32,
    last: String,
}

impl TimerWatch {
    /// Takes a line of the console.
    pub(super) fn hear(&mut self, line: &str) {
        if line.contains(OVERDUE) {
            self.reports += 1;
            line.clone_into(&mut self.last);
        }
    }

    /// The guest's last word about it, if there is no doubt that a timer is lost.
    pub(super) fn lost(&self) -> Option<&str> {
        (self.reports >= CERTAIN).then_some(self.last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_late_timer_is_none_that_is_lost() {
        let mut watch = TimerWatch::default();
        let said = |cpu: u32| {
            format!("[  84.792] rcu: \tPossible timer handling issue on cpu={cpu} timer-softirq=3")
        };
        watch.hear("[  21.790] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:");
        watch.hear(&said(1));
        assert_eq!(watch.lost(), None);
        watch.hear("[   84.790] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:");
        watch.hear(&said(2));
        assert_eq!(watch.lost(), Some(said(2).as_str()));
    }
}
