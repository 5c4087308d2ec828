//! Counts what an ONNX file consists of, before it is decoded: a part can take two bytes in the file and hundreds in memory.

/// Most parts of a file: nodes, attributes, tensors, names of inputs, dimensions. Each takes up to 600 bytes of memory, so all take some
/// gigabyte. The largest networks in use have a tenth as many.
pub const MAX_PARTS: usize = 1 << 21;

/// The messages of proto.rs that hold others or lists of texts.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Dimensions,
    /// Holds nothing that is counted.
    Leaf,
}

/// Returns what a field of a message holds if it is counted.
fn part(of: Message, tag: u64) -> Option<Message> {
    Some(match (of, tag) {
        (Message::Model, 7) | (Message::Attribute, 6) => Message::Graph,
        (Message::Graph, 1) => Message::Node,
        (Message::Node, 5) => Message::Attribute,
        (Message::Graph | Message::Attribute, 5) => Message::Tensor,
        (Message::Graph, 11 | 12) => Message::ValueInfo,
        (Message::ValueInfo, 2) => Message::Type,
        (Message::Type, 1) => Message::TensorType,
        (Message::TensorType, 2) => Message::Dimensions,
        (Message::Model, 8 | 14) | (Message::Node, 1 | 2) | (Message::Attribute, 9) => Message::Leaf,
        (Message::Tensor, 13) | (Message::Dimensions, 1) => Message::Leaf,
        _ => return None,
    })
}

/// Returns the number of parts, at most one more than [`MAX_PARTS`]; `None` if the bytes are not protobuf.
pub fn count(bytes: &[u8]) -> Option<usize> {
    let mut parts = 0;
    let mut open = vec![(Message::Model, bytes)];
    while let Some((message, mut rest)) = open.pop() {
        while !rest.is_empty() {
            let key = varint(&mut rest)?;
            let field = match key & 7 {
                0 => {
                    varint(&mut rest)?;
                    continue;
                }
                1 => take(&mut rest, 8)?,
                2 => {
                    let len = varint(&mut rest)?;
                    take(&mut rest, usize::try_from(len).ok()?)?
                }
                5 => take(&mut rest, 4)?,
                _ => return None,
            };
            let Some(inner) = part(message, key >> 3) else { continue };
            parts += 1;
            if parts > MAX_PARTS {
                return Some(parts);
            }
            if !matches!(inner, Message::Leaf) {
                open.push((inner, field));
            }
        }
    }
    Some(parts)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::proto::{Attribute, Graph, Model, Node, Tensor};
    use super::*;
    use prost::Message as _;

    #[test]
    fn parts_are_counted_at_every_depth() {
        let branch = Graph { node: vec![Node::default(); 5], ..Default::default() };
        let attribute =
            Attribute { g: Some(branch), strings: vec![vec![]; 4], t: Some(Tensor::default()), ..Default::default() };
        let node = Node { input: vec!["a".into(); 3], attribute: vec![attribute; 2], ..Default::default() };
        let graph = Graph { node: vec![node; 7], initializer: vec![Tensor::default(); 2], ..Default::default() };
        let model = Model { ir_version: 8, graph: Some(graph), ..Default::default() };
        let bytes = model.encode_to_vec();
        // The graph, its tensors, and for each node: itself, its inputs, and its attributes with a graph of nodes, texts and a tensor.
        assert_eq!(count(&bytes), Some(1 + 2 + 7 * (1 + 3 + 2 * (1 + 1 + 5 + 4 + 1))));
        assert!((1..bytes.len()).any(|len| count(&bytes[..len]).is_none()));
        let many = Graph { node: vec![Node::default(); MAX_PARTS], ..Default::default() };
        let bytes = Model { graph: Some(many), ..Default::default() }.encode_to_vec();
        assert_eq!(count(&bytes), Some(MAX_PARTS + 1));
        assert!(bytes.len() < 5 << 20, "{}", bytes.len());
        let error = super::super::read("a.onnx", &bytes).unwrap_err().to_string();
        assert!(error.contains("more than 2097152 nodes, attributes, tensors and names"), "{error}");
    }
}
