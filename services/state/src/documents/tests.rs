//! Laws of the stored form of document sets.

use super::*;

/// Text that compression makes no smaller.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

fn join(pieces: &[Piece], sha256: &Hash) -> Result<Bytes, Damaged> {
    let mut documents = Vec::new();
    for (number, piece) in (0..).zip(pieces) {
        piece.append_to(&mut documents, number)?;
    }
    verified(documents, sha256)
}

#[test]
fn a_set_is_its_pieces_whatever_its_size_and_none_is_too_large() {
    for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, MAX_SET_BYTES] {
        for documents in [noise(size), vec![b'a'; size]] {
            let set = Set::of(&documents);
            let pieces: Vec<_> =
                (0..set.pieces()).map(|number| cut(&documents, number, 7).unwrap()).collect();
            assert!(
                set.pieces() <= MAX_PIECES && pieces.iter().all(|piece| piece.encoded_len() < 511 * 1024)
            );
            let last: Vec<bool> = (0..).zip(&pieces).map(|(number, piece)| piece.is_last(number)).collect();
            assert_eq!(last.iter().position(|last| *last), Some(pieces.len() - 1));
            assert_eq!(join(&pieces, &set.sha256).unwrap(), documents);
            assert!(join(&pieces, &Set::of(b"other").sha256).is_err());
        }
    }
}

#[test]
fn what_is_stored_cannot_take_more_memory_than_it_says() {
    let documents = vec![b'a'; MAX_SET_BYTES];
    let bomb: Bytes = zstd::bulk::compress(&documents, 3).unwrap().into();
    assert!(bomb.len() < 1024);
    let read = |size: u64, compressed: &Bytes| {
        let piece = Piece { compressed: compressed.clone(), size, written: 0 };
        let mut found = Vec::new();
        piece.append_to(&mut found, 0).map(|()| found.len())
    };
    for size in [0, 10, PIECE_BYTES as u64, MAX_SET_BYTES as u64, MAX_SET_BYTES as u64 + 1, u64::MAX] {
        assert!(read(size, &bomb).is_err(), "{size}");
    }
    let short: Bytes = zstd::bulk::compress(b"[]", 3).unwrap().into();
    assert_eq!(read(2, &short).unwrap(), 2);
    assert!(read(1, &short).is_err() && read(3, &short).is_err() && read(2, &short.slice(..3)).is_err());
    assert!(read(2, &Bytes::from_static(b"[]")).is_err(), "not compressed at all");
}

#[test]
fn pieces_belong_to_one_place_of_one_set() {
    let documents = noise(3 * PIECE_BYTES);
    let pieces: Vec<_> = (0..3).map(|number| cut(&documents, number, 7).unwrap()).collect();
    let sha256 = Set::of(&documents).sha256;
    for order in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [0, 1, 1]] {
        let wrong = order.map(|number: usize| pieces[number].clone());
        assert!(join(&wrong, &sha256).is_err(), "{order:?}");
    }
}
