//! Shells take the completions, and find what there is.

use std::process::Command;

use tests::binary;

#[test]
fn bash_completes_commands_and_options() {
    let table = [("producer", "", "targets"), ("producer", "--che", "--check-config"), ("consumer", "sta", "status")];
    for (name, typed, expected) in table {
        // What bash does when a person presses Tab.
        let script = format!(
            "source <('{program}' completions bash) && COMP_WORDS=({name} '{typed}') && COMP_CWORD=1 && \
             _{name} {name} '{typed}' {name} && echo \"${{COMPREPLY[@]}}\"",
            program = binary(name).display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let replies = String::from_utf8(output.stdout).unwrap();
        let found = replies.split_whitespace().any(|reply| reply == expected);
        assert!(found, "{name} {typed}: {replies} {}", String::from_utf8_lossy(&output.stderr));
    }
}
