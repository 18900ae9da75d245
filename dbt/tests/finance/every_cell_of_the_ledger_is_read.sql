-- Names each live entry with a filled cell that could not be read. With an unreadable solo_part the
-- full cost counts.
{{ config(group="finance", severity="warn") }}

with

ledger as (
    select * from {{ ref('stg_finance__ledger') }}
),

final as (
    select
        field,
        entry_id,
        count(*) as n_records,
    from ledger
    cross join unnest(split(unread_fields, ',')) as field
    where not is_deleted
    group by field, entry_id
)

select * from final
