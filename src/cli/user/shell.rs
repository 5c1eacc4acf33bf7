//! How shells write an assignment.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// And sh, zsh and the like
    Bash,
    Fish,
    Powershell,
}

impl Shell {
    /// What sets the variables, when the shell evaluates it.
    pub(super) fn assign(self, variables: &[(&str, &str)]) -> String {
        let lines = variables.iter().map(|(name, value)| match self {
            Self::Bash => format!("{name}={}", self.quote(value)),
            Self::Fish => format!("set -gx {name} {};", self.quote(value)),
            Self::Powershell => format!("$env:{name} = {}", self.quote(value)),
        });
        let lines: Vec<String> = lines.collect();
        match self {
            Self::Bash => format!("export {}", lines.join(" ")),
            Self::Fish | Self::Powershell => lines.join("\n"),
        }
    }

    fn quote(self, value: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
        match self {
            Self::Bash | Self::Fish if !value.is_empty() && value.chars().all(is_plain) => value.to_owned(),
            Self::Bash => format!("'{}'", value.replace('\'', r"'\''")),
            Self::Fish => format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
            // It takes typographic quotation marks for quotation marks, too.
            Self::Powershell => {
                let doubled = value.chars().flat_map(|c| {
                    let times = if matches!(c, '\'' | '‘' | '’' | '‚' | '‛') {
                        2
                    } else {
                        1
                    };
                    std::iter::repeat_n(c, times)
                });
                format!("'{}'", doubled.collect::<String>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [(&str, &str); 2] = [("A", "https://a.test:8443/ml"), ("B", "mlg_at_x")];

    #[test]
    fn an_assignment_is_what_the_shell_reads() {
        assert_eq!(Shell::Bash.assign(&PLAIN), "export A=https://a.test:8443/ml B=mlg_at_x");
        assert_eq!(
            Shell::Fish.assign(&PLAIN),
            "set -gx A https://a.test:8443/ml;\nset -gx B mlg_at_x;"
        );
        assert_eq!(
            Shell::Powershell.assign(&PLAIN),
            "$env:A = 'https://a.test:8443/ml'\n$env:B = 'mlg_at_x'"
        );
    }

    #[test]
    fn nothing_in_a_value_is_a_command() {
        let evil = r"a'b\;$(x)`y`’";
        assert_eq!(Shell::Bash.quote(evil), r"'a'\''b\;$(x)`y`’'");
        assert_eq!(Shell::Fish.quote(evil), r"'a\'b\\;$(x)`y`’'");
        assert_eq!(Shell::Powershell.quote(evil), r"'a''b\;$(x)`y`’’'");
        assert_eq!(Shell::Bash.quote(""), "''");
    }

    #[cfg(unix)]
    #[test]
    fn a_real_shell_reads_it_back() {
        let evil = "a'b \"c\" \\; $(echo x) `echo y` ~ # & \n d";
        let script = format!("{}; printf %s \"$A\"", Shell::Bash.assign(&[("A", evil)]));
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), evil);
    }
}
