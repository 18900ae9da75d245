-- Each in exactly one of the three, and nothing that is gone from the sheet in any.
{{ config(group="finance") }}

with

ledger as (
    select * from {{ ref('stg_finance__ledger') }}
),

listed as (
    select entry_id, from {{ ref('ledger_expenses') }}
    union all
    select entry_id, from {{ ref('ledger_income') }}
    union all
    select entry_id, from {{ ref('uncounted_entries') }}
),

places as (
    select
        entry_id,
        count(*) as place_count,
    from listed
    group by entry_id
),

final as (
    select
        ledger.entry_id,
        ledger.is_deleted,
        coalesce(places.place_count, 0) as place_count,
    from ledger
    left join places on ledger.entry_id = places.entry_id
    where coalesce(places.place_count, 0) != if(ledger.is_deleted, 0, 1)
)

select * from final
