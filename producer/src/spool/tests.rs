use super::*;

fn open(folder: &tempfile::TempDir, max_bytes: u64) -> Spool {
    Spool::open(&folder.path().join("spool.sqlite"), max_bytes).unwrap()
}

fn payloads(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn texts(spool: &mut Spool) -> Vec<(u64, String)> {
    let rows = spool.read(0, u64::MAX >> 1, 100).unwrap();
    rows.into_iter().map(|(seq, payload)| (seq, String::from_utf8(payload).unwrap())).collect()
}

#[test]
fn what_was_appended_is_there_after_a_restart_until_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, 1000);
    assert_eq!(spool.next(), 1);
    spool.update(&payloads(&["a", "bb", "ccc"]), &[]).unwrap();
    spool.update(&payloads(&["dddd"]), &[2]).unwrap();
    drop(spool);
    let mut spool = open(&folder, 1000);
    assert_eq!((spool.len(), spool.bytes(), spool.next()), (3, 8, 5));
    assert_eq!(texts(&mut spool), [(1, "a".into()), (3, "ccc".into()), (4, "dddd".into())]);
    assert_eq!(spool.read(2, 4, 100).unwrap().len(), 1);
    assert_eq!(spool.read(0, 100, 2).unwrap().len(), 2);
    spool.update(&[], &[1, 3, 4, 4, 99]).unwrap();
    assert!(spool.is_empty());
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn beyond_the_bound_the_oldest_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, 10);
    assert!(spool.update(&payloads(&["aaaa", "bbbb"]), &[]).unwrap().is_empty());
    assert_eq!(spool.update(&payloads(&["cccc", "dddd"]), &[]).unwrap(), [1, 2]);
    assert_eq!(texts(&mut spool), [(3, "cccc".into()), (4, "dddd".into())]);
    // A delivery report for what was dropped changes nothing.
    assert!(spool.update(&[], &[1]).unwrap().is_empty());
    assert_eq!(spool.len(), 2);
}

/// URLs and answers of sites are nobody else's business, whatever the umask says.
#[test]
fn a_spool_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let path = folder.path().join("made/here/spool.sqlite");
    let spool = Spool::open(&path, 10_000).unwrap();
    let made = ["made", "made/here"].map(|name| mode(&folder.path().join(name)));
    assert_eq!((made, mode(&path), mode(&log_of(&path))), ([0o700; 2], 0o600, 0o600));
    drop(spool);
    // One of before.
    let old = folder.path().join("old.sqlite");
    for file in [old.clone(), log_of(&old)] {
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
    let _spool = Spool::open(&old, 10_000).unwrap();
    assert_eq!((mode(&old), mode(&log_of(&old))), (0o600, 0o600));
}

#[test]
fn two_processes_cannot_share_a_spool() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(&folder, 10);
    first.update(&payloads(&["a"]), &[]).unwrap();
    let second = Spool::open(&folder.path().join("spool.sqlite"), 10);
    assert!(matches!(second, Err(SpoolError::InUse(_))), "{second:?}");
}

#[test]
fn a_damaged_spool_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.sqlite");
    fs::write(&path, "this is no database, and longer than its header would be: ".repeat(20)).unwrap();
    let mut spool = open(&folder, 10);
    spool.update(&payloads(&["a"]), &[]).unwrap();
    assert!(folder.path().join("spool.damaged").exists());
}

/// A process that dies in the middle of a write leaves a torn tail in the log; what was committed before it stays.
#[test]
fn a_torn_tail_is_forgotten_and_the_rest_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, 1000);
    spool.update(&payloads(&["a", "b"]), &[]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["spool.sqlite", "spool.sqlite-wal"] {
        let mut bytes = fs::read(folder.path().join(name)).unwrap();
        if name.ends_with("wal") {
            bytes.extend_from_slice(&[0x5a; 1000]);
        }
        fs::write(copy.path().join(name), bytes).unwrap();
    }
    assert_eq!(texts(&mut open(&copy, 1000)), [(1, "a".into()), (2, "b".into())]);
}
